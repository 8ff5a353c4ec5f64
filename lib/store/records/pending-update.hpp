// SPDX-License-Identifier: Apache-2.0
// Records the updates that were seen at the sources of images and not pulled yet. They are kept in the detached
// metadata of the images' merge commit, beside whatever else is there: several images may have one commit and other
// sources.
//
// imaged.updates (a{ss}) has the digest of each image's update. The documents of one of them are under the keys of
// ostree-ext (store format, "The image (merge) commit"), where other programs look, those of the others in
// imaged.update-documents (a{s(ss)}, by digest: manifest, config). Without imaged.updates, what is under the keys of
// ostree-ext is the update of all.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "oci/digest.hpp"
#include "store/repository/repository.hpp"

namespace imaged {

// The digests of the updates of the images that have one merge commit, as texts.
struct UpdateDigests {
    std::map<std::string, std::string> by_image;
    std::optional<std::string> of_all;  // where it is not known whose it is

    // Throws Error(repository_damaged) when the detached metadata itself cannot be read.
    static UpdateDigests load(const Repository& repository, const Checksum& merge_commit);
    // IMAGE as in ref-name.hpp.
    std::optional<std::string> of(const std::string& image) const;
    bool operator==(const UpdateDigests&) const = default;
};

struct PendingUpdate {
    Digest digest;  // of the manifest
    std::string manifest_text, config_text;

    // The update of IMAGE, or nullopt if there is none that can be read. Throws as UpdateDigests::load().
    static std::optional<PendingUpdate> load(const Repository& repository, const Checksum& merge_commit,
                                             const std::string& image);
    // No UPDATE removes the one that IMAGE has. True when something changed.
    static bool store(Repository& repository, const Checksum& merge_commit, const std::string& image,
                      const std::optional<PendingUpdate>& update);
    // After IMAGE has moved on from MERGE_COMMIT, is gone, or was found unchanged at its source.
    static void forget(Repository& repository, const Checksum& merge_commit, const std::string& image) {
        store(repository, merge_commit, image, std::nullopt);
    }
};

}  // namespace imaged
