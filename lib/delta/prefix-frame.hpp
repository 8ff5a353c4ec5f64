// SPDX-License-Identifier: Apache-2.0
// Compresses a part of a file with another version of the file as the reference prefix of a zstd frame.
//
// A reader needs a window of the size of CONTENT, whatever the size of PREFIX. The same bytes give the same frame in
// one build. Thread-safe, with a context for each thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "layer/zstd-writer.hpp"

namespace imaged::delta {

class PrefixFrames {
public:
    std::vector<std::byte> compress(std::span<const std::byte> prefix, std::span<const std::byte> content);
    // About what CONTENT takes without a prefix.
    std::size_t size_alone(std::span<const std::byte> content);
    // Bytes that compress() takes beside its arguments, the result included.
    static std::uint64_t memory_for(std::uint64_t prefix_bytes, std::uint64_t content_bytes);
    // Gives back what the last call left for the next.
    void release();

private:
    ZstdContext context_ = make_zstd_context();
};

}  // namespace imaged::delta
