// SPDX-License-Identifier: Apache-2.0
// A part of a blob.
#pragma once

#include <cstdint>
#include <span>

namespace imaged {

struct BlobRange {
    std::uint64_t offset = 0, length = 0;  // in bytes
    std::uint64_t end() const { return offset + length; }
    bool operator==(const BlobRange&) const = default;
};

inline std::uint64_t bytes_of(std::span<const BlobRange> ranges) {
    std::uint64_t bytes = 0;
    for (const auto& range : ranges) bytes += range.length;
    return bytes;
}

}  // namespace imaged
