// SPDX-License-Identifier: Apache-2.0
// A layer's uncompressed stream: reads, decompresses and hashes in a thread of its own, a bounded number of blocks
// ahead of its consumer.
#pragma once

#include <exception>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "base/bounded-queue.hpp"
#include "base/checksum.hpp"
#include "layer/byte-source.hpp"

namespace imaged {

// More than any layer in the wild; ends a decompression bomb before the disk is full of it.
inline constexpr std::uint64_t max_layer_bytes = 512ULL * 1024 * 1024 * 1024;

class LayerStream : public ByteSource {
public:
    // COMPRESSED is borrowed and must outlive the stream.
    explicit LayerStream(DescriptorSource& compressed);
    // Stops COMPRESSED and waits for the thread.
    ~LayerStream() override;

    // Throws what the thread threw: Error(corrupt_input), Error(source_unreachable), Error(cancelled), …
    std::size_t read(std::span<std::byte> buffer) override;
    // A block as it was decompressed, without a copy.
    std::span<const std::byte> next_piece(std::span<std::byte> buffer) override;
    // Reads what is left, to the end of the compressed stream, and returns the SHA-256 of all uncompressed bytes.
    Checksum finish();
    std::uint64_t total() const { return total_; }

private:
    using Block = std::vector<std::byte>;
    static constexpr std::size_t block_bytes = 256 * 1024;
    static constexpr std::size_t blocks = 4;

    void produce();
    bool next_block();

    DescriptorSource& compressed_;
    BoundedQueue<Block> filled_{blocks}, empty_{blocks};
    std::exception_ptr failure_;  // set before filled_ is closed
    Checksum diff_id_;            // likewise
    Block current_;
    std::size_t position_ = 0;
    std::uint64_t total_ = 0;
    std::thread thread_;  // last: it uses all of the above
};

}  // namespace imaged
