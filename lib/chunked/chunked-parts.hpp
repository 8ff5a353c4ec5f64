// SPDX-License-Identifier: Apache-2.0
// Finds the positions of the table of contents and the tar-split of a zstd:chunked layer, from the annotations of its
// descriptor, which the manifest's digest covers. (containers/storage, pkg/chunked: "zstd:chunked".)
#pragma once

#include <cstdint>
#include <optional>

#include "oci/manifest.hpp"

namespace imaged {

// A part of the blob: the place of one zstd frame, and its decompressed size.
struct PackedPart {
    std::uint64_t offset = 0, bytes = 0;
    std::uint64_t unpacked = 0;
};

// More than a layer with as many entries as are allowed needs.
inline constexpr std::uint64_t max_packed_part_bytes = 128 * 1024 * 1024;
inline constexpr std::uint64_t max_part_bytes = 2ULL * 1024 * 1024 * 1024;

struct ChunkedParts {
    Digest table_digest;  // of the frame
    PackedPart table, split;
};

// Returns nullopt if LAYER is not zstd:chunked, has no tar-split, or has annotations that cannot be right.
std::optional<ChunkedParts> chunked_parts(const Descriptor& layer);

}  // namespace imaged
