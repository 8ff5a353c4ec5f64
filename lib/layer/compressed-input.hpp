// SPDX-License-Identifier: Apache-2.0
// A buffer of compressed bytes between a ByteSource and a decompressor that consumes it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "layer/byte-source.hpp"

namespace imaged {

class CompressedInput {
public:
    explicit CompressedInput(ByteSource& upstream) : upstream_(upstream), buffer_(buffer_bytes) {}

    // The bytes not yet consumed, after reading on when there were none; empty at the end of the stream.
    std::span<std::byte> available() {
        if (begin_ == end_) refill();
        return {buffer_.data() + begin_, end_ - begin_};
    }
    // At least COUNT bytes unless the stream ends before; COUNT is small.
    std::span<std::byte> peek(std::size_t count) {
        while (end_ - begin_ < count && !ended_) {
            if (begin_ > 0) {
                std::copy(buffer_.begin() + static_cast<std::ptrdiff_t>(begin_),
                          buffer_.begin() + static_cast<std::ptrdiff_t>(end_), buffer_.begin());
                end_ -= begin_;
                begin_ = 0;
            }
            append();
        }
        return {buffer_.data() + begin_, end_ - begin_};
    }
    void consume(std::size_t count) {
        begin_ += count;
        consumed_ += count;
    }
    // " at byte N of the compressed stream"
    std::string position() const { return " at byte " + std::to_string(consumed_) + " of the compressed stream"; }

private:
    static constexpr std::size_t buffer_bytes = 128 * 1024;

    void refill() {
        begin_ = end_ = 0;
        if (!ended_) append();
    }
    void append() {
        const auto room = std::span(buffer_).subspan(end_);
        const auto count = upstream_.read(room);
        if (count < room.size()) ended_ = true;
        end_ += count;
    }

    ByteSource& upstream_;
    std::vector<std::byte> buffer_;
    std::size_t begin_ = 0, end_ = 0;
    std::uint64_t consumed_ = 0;
    bool ended_ = false;
};

}  // namespace imaged
