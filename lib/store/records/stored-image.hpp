// SPDX-License-Identifier: Apache-2.0
// The metadata of an image in its merge commit (store format, "The image (merge) commit"). Written by imaged and by
// ostree-ext alike; plain data once read.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "base/checksum.hpp"
#include "base/error.hpp"
#include "oci/digest.hpp"
#include "oci/image-config.hpp"
#include "oci/image-reference.hpp"
#include "oci/layout.hpp"
#include "oci/manifest.hpp"
#include "store/records/dropped-counts.hpp"
#include "store/repository/repository.hpp"

namespace imaged {

inline constexpr const char* manifest_digest_key = "ostree.manifest-digest";
inline constexpr const char* manifest_key = "ostree.manifest";
inline constexpr const char* config_key = "ostree.container.image-config";
inline constexpr const char* importer_version_key = "ostree.importer.version";
inline constexpr const char* own_importer = "imaged ";  // what the importer version of this program begins with
inline constexpr const char* filtered_key = "ostree.tar-filtered";

// Layer digest to top-level path to number of entries that the store format does not keep.
using FilteredPaths = std::map<std::string, std::map<std::string, std::uint32_t>>;

struct StoredImage {
    Checksum merge_commit;
    std::optional<Checksum> base_commit;
    Checksum tree, meta;        // of the merged root
    std::uint64_t created = 0;  // seconds since 1970
    Digest digest;
    std::string manifest_text, config_text;
    Manifest manifest;
    ImageConfig config;
    ImageLayout layout;
    std::string importer;
    FilteredPaths filtered;
    DroppedCounts dropped;
    // Whether the commit itself names the base commit; otherwise the ref of a layer does, which may come to name
    // another.
    bool base_is_parent = false;

    static constexpr const char* broken_ref = "the ref contains no checksum";

    // The commit that a deployment uses: the base commit of an image that is nothing else, else the merge commit.
    const Checksum& deployable() const;

    // The image of this name; throws no_such_image(), or load()'s error under the image's name.
    static StoredImage find(const Repository& repository, const ImageReference& image);
    // MERGE_COMMIT is what the image's ref names; nullopt if it is broken, which is an error as well. Throws
    // Error(repository_damaged) naming what is missing or broken. With BASE_MAY_BE_MISSING the ref of the commit layer
    // may be lost; base_commit is absent then.
    static StoredImage load(const Repository& repository, const std::optional<Checksum>& merge_commit,
                            bool base_may_be_missing = false);
    // Returns nullopt where load() finds no image or a damaged one, which may be replaced. Throws what keeps the system
    // from reading it.
    static std::optional<StoredImage> load_if_whole(const Repository& repository,
                                                    const std::optional<Checksum>& merge_commit,
                                                    bool base_may_be_missing = false);
};

// Error(not_found): the repository has no image of this name, or there is no repository.
Error no_such_image(const ImageReference& image);

}  // namespace imaged
