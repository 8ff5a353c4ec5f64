// SPDX-License-Identifier: Apache-2.0
// Reads the uncompressed stream of a layer. It is read, and decompressed if needed, in a thread of its own, a bounded
// number of blocks ahead of the consumer. The consumer's thread computes its hash together with those of the layer's
// files; if two at a time are no faster than one after the other, a second thread computes it.
#pragma once

#include <deque>
#include <exception>
#include <thread>
#include <vector>

#include "base/bounded-queue.hpp"
#include "base/checksum.hpp"
#include "layer/byte-source.hpp"
#include "layer/expansion-limit.hpp"
#include "layer/hash-backlog.hpp"

namespace imaged {

class LayerStream : public ByteSource {
public:
    // The bytes of the source: compressed in any way, or the tar itself, which is taken as it is.
    enum class Form { packed, plain };
    // Both are borrowed and must outlive the stream; LIMIT counts every uncompressed byte.
    LayerStream(StoppableSource& source, ExpansionLimit& limit, Form form = Form::packed,
                bool hash_beside = PairedSha256::pays());
    // Stops SOURCE and waits for the threads.
    ~LayerStream() override { stop(); }

    // Throws what the threads threw: Error(corrupt_input), Error(source_unreachable), Error(cancelled), …
    std::size_t read(std::span<std::byte> buffer) override;
    // A block as it was decompressed, without a copy.
    std::span<const std::byte> next_piece(std::span<std::byte> buffer) override;
    FileDescriptor file_at(std::uint64_t offset) override {
        return form_ == Form::plain ? source_.file_at(offset) : FileDescriptor();
    }
    // Reads what is left, to the end of the compressed stream, and returns the SHA-256 of all uncompressed bytes.
    Checksum finish();
    std::uint64_t total() const { return total_; }
    // Null where a second thread computes the hash.
    HashBacklog* backlog() { return hash_beside_ ? &backlog_ : nullptr; }

private:
    using Block = std::vector<std::byte>;
    static constexpr std::size_t block_bytes = 256 * 1024;
    static constexpr std::size_t blocks = 6;
    // The largest small file is half a block, so what it is hashed beside is in the block it ends in or in the one
    // before.
    static constexpr std::size_t max_waiting = 1;

    void produce();
    void hash();
    void stop();
    bool next_block();
    void put_aside();

    const bool hash_beside_;
    StoppableSource& source_;
    const Form form_;
    ExpansionLimit& limit_;
    // Blocks go round: empty, decompressed, and, with a second thread, hashed.
    BoundedQueue<Block> empty_{blocks}, decompressed_{blocks}, hashed_{blocks};
    std::exception_ptr failure_;       // set before decompressed_ is closed
    std::exception_ptr hash_failure_;  // set before hashed_ is closed
    Checksum diff_id_;                 // likewise, of a stream without a failure
    HashBacklog backlog_;
    std::deque<Block> waiting_;  // consumed, but not hashed yet
    Block current_;
    std::size_t position_ = 0;
    std::uint64_t total_ = 0;
    std::thread producer_, hasher_;  // last: they use most of the above
};

}  // namespace imaged
