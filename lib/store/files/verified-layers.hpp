// SPDX-License-Identifier: Apache-2.0
// Records what imaged verified itself: which commit holds the layer with which diff-id, and which merges it made of
// which manifest. A layer serves other blobs, and its commit's metadata (layer-record.hpp) is trusted, only if this
// record names its commit: metadata of commits can come from an image, from a copy, or from any program that may
// commit.
//
// On disk: extensions/imaged/layers/HEX.KIND in the repository, one small file for each. KIND is "commit", "chunk" or
// "derived", and HEX the diff-id; or KIND is "image" and HEX the SHA-256 of the manifest's digest and the merge's
// checksum, in hexadecimal: such a record has one possible content, and none of another image is in its place. Objects,
// refs, images and copies cannot reach that directory. A file that is missing, broken, or that another user owns or may
// write counts as absent: then the layer is fetched again. Nothing else is lost with it.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/checksum.hpp"
#include "base/file-descriptor.hpp"
#include "oci/digest.hpp"
#include "oci/layout.hpp"

namespace imaged {

class VerifiedLayers {
public:
    // REPOSITORY is the repository's directory; borrowed. All members may be called from several threads.
    explicit VerifiedLayers(int repository) : repository_(repository) {}

    // The commit that holds the layer; nullopt if there is no valid record.
    std::optional<Checksum> layer(LayerKind kind, const Digest& diff_id) const;
    // A content, and the blob that it was verified with last: others may have it too.
    struct Content {
        Digest diff_id, blob;
    };
    // The contents that each of COMMITS is recorded for, as a layer of whatever kind. Reads all records once; none if
    // COMMITS is empty.
    std::map<Checksum, std::vector<Content>> contents_of(const std::set<Checksum>& commits) const;
    // Whether COMMIT is recorded for other contents than DIFF_ID only. Reads all records.
    bool is_other_content(const Checksum& commit, const Digest& diff_id) const;
    // Whether a derived layer's record goes with MOVED_VAR. False if there is no valid record.
    bool goes_with(const Digest& diff_id, bool moved_var) const;
    // Whether BLOB was seen to hold the derived layer with DIFF_ID, last of all blobs. False if there is no valid
    // record.
    bool goes_with_blob(const Digest& diff_id, const Digest& blob) const;
    // Whether COMMIT is recorded for the content of LAYER, but not with its blob: with another one, or with none.
    bool is_of_unseen_blob(const ImageLayer& layer, const Checksum& commit) const;
    // Whether this program made MERGE of the image; false if there is no valid record.
    bool has_image(const Digest& manifest, const Checksum& merge) const;

    // Call only after LAYER's diff-id has been verified, and COMMIT was made of that content. BLOB_SEEN: the digest of
    // its blob has been verified too; otherwise nothing is known of what the blob holds. The record is durable after
    // the repository's next sync(). Throws system_error(). MOVED_VAR (moved-var.hpp) goes with the record of a derived
    // layer: with another one the layer has another commit.
    void add_layer(const ImageLayer& layer, const Checksum& commit, bool moved_var, bool blob_seen = true) const;
    void add_image(const Digest& manifest, const Checksum& merge) const;

    // The records whose commit is not THERE, and the files that are no valid record, as paths in the repository.
    std::vector<std::string> stale(const std::function<bool(const Checksum& commit)>& there) const;

private:
    struct Record {
        std::string kind;
        Checksum key, blob, commit;
        std::string var;
    };
    // Every file of the records that can be read, with nullopt for what is no valid record.
    void visit(const std::function<void(const std::string& name, const std::optional<Record>& record)>& visitor) const;
    static std::string serialise(const Record& record);
    static std::optional<Record> parse(const std::string& text, const std::string& kind, const Checksum& key);
    std::optional<Record> find(const std::string& kind, const Checksum& key) const;
    std::optional<Record> find(LayerKind kind, const Digest& diff_id) const {
        return find(std::string(to_string(kind)), diff_id.checksum());
    }
    void add(const Record& record) const;

    // The directory of the records, if there is one yet. Most jobs look for a record of each layer.
    std::optional<int> opened() const;

    const int repository_;
    mutable std::mutex mutex_;
    mutable FileDescriptor directory_;  // once there is one
};

}  // namespace imaged
