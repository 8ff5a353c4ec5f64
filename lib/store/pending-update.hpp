// SPDX-License-Identifier: Apache-2.0
// An update that was seen at an image's source and not pulled yet. It is kept in the detached metadata of the image's
// merge commit, under the keys of ostree-ext, beside whatever else is there (store format, "The image (merge) commit").
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "oci/digest.hpp"
#include "store/repository.hpp"

namespace imaged {

struct PendingUpdate {
    Digest digest;  // of the manifest
    std::string manifest_text, config_text;

    // Nothing where there is none, or none that can be read. Throws Error(repository_damaged) when the detached
    // metadata itself cannot be read.
    static std::optional<PendingUpdate> load(const Repository& repository, const Checksum& merge_commit);
    // Only its digest, as text.
    static std::optional<std::string> load_digest(const Repository& repository, const Checksum& merge_commit);
    // No UPDATE removes the one that is there. True when something changed.
    static bool store(Repository& repository, const Checksum& merge_commit, const std::optional<PendingUpdate>& update);
};

// What tells that a commit's detached metadata is another than it was: it is replaced as a whole. Costs one stat(2).
struct MetadataStamp {
    std::uint64_t inode = 0, size = 0;
    std::int64_t modified = 0;  // nanoseconds
    bool operator==(const MetadataStamp&) const = default;

    // All zero where there is none.
    static MetadataStamp of(const Repository& repository, const Checksum& commit);
};

}  // namespace imaged
