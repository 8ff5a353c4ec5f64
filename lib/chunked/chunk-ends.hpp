// SPDX-License-Identifier: Apache-2.0
// Finds the ends of a file's chunks. The content decides where they are, so most chunks of another version of the file
// are the same, wherever they are in it. One object for each file.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace imaged {

// The chunks of imaged's own exports. One ends where some bits of a hash of the last bytes are zero ("gear hash").
class OwnChunkEnds {
public:
    static constexpr std::uint64_t least_bytes = 32 * 1024, most_bytes = 512 * 1024, mean_bytes = 128 * 1024;

    // Returns how many of BYTES, which follow those of the last call, belong to the current chunk. ENDS: it ends with
    // them.
    std::size_t rest(std::span<const std::byte> bytes, bool& ends);

private:
    std::uint64_t window_ = 0, size_ = 0;
};

// The chunks of skopeo, podman and buildah (containers/storage), by bup's rolling checksum of 64 bytes.
class RollsumChunkEnds {
public:
    std::size_t rest(std::span<const std::byte> bytes, bool& ends);

private:
    static constexpr std::uint32_t window_bytes = 64, offset = 31, end_bits = 0xffff;

    std::uint32_t sum_ = window_bytes * offset, sum_of_sums_ = window_bytes * (window_bytes - 1) * offset;
    std::array<std::byte, window_bytes> window_{};
    std::size_t position_ = 0;
};

}  // namespace imaged
