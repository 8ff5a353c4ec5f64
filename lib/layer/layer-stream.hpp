// SPDX-License-Identifier: Apache-2.0
// A layer's uncompressed stream: read and decompressed in one thread, hashed in another, a bounded number of blocks
// ahead of the consumer.
#pragma once

#include <exception>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "base/bounded-queue.hpp"
#include "base/checksum.hpp"
#include "layer/byte-source.hpp"
#include "layer/expansion-limit.hpp"

namespace imaged {

class LayerStream : public ByteSource {
public:
    // Both are borrowed and must outlive the stream; LIMIT is told of every uncompressed byte.
    LayerStream(DescriptorSource& compressed, ExpansionLimit& limit);
    // Stops COMPRESSED and waits for the threads.
    ~LayerStream() override;

    // Throws what the threads threw: Error(corrupt_input), Error(source_unreachable), Error(cancelled), …
    std::size_t read(std::span<std::byte> buffer) override;
    // A block as it was decompressed, without a copy.
    std::span<const std::byte> next_piece(std::span<std::byte> buffer) override;
    // Reads what is left, to the end of the compressed stream, and returns the SHA-256 of all uncompressed bytes.
    Checksum finish();
    std::uint64_t total() const { return total_; }

private:
    using Block = std::vector<std::byte>;
    static constexpr std::size_t block_bytes = 256 * 1024;
    static constexpr std::size_t blocks = 6;

    void produce();
    void hash();
    void stop();
    bool next_block();

    DescriptorSource& compressed_;
    ExpansionLimit& limit_;
    // Blocks go round: empty, decompressed, hashed.
    BoundedQueue<Block> empty_{blocks}, decompressed_{blocks}, hashed_{blocks};
    std::exception_ptr failure_;       // set before decompressed_ is closed
    std::exception_ptr hash_failure_;  // set before hashed_ is closed
    Checksum diff_id_;                 // likewise, of a stream without a failure
    Block current_;
    std::size_t position_ = 0;
    std::uint64_t total_ = 0;
    std::thread producer_, hasher_;  // last: they use all of the above
};

}  // namespace imaged
