// SPDX-License-Identifier: Apache-2.0
#include "layer/layer-stream.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "layer/decompressor.hpp"

namespace imaged {

LayerStream::LayerStream(StoppableSource& source, ExpansionLimit& limit, Form form, bool hash_beside)
    : hash_beside_(hash_beside), source_(source), form_(form), limit_(limit) {
    for (std::size_t i = 0; i < blocks; ++i) empty_.push(Block(block_bytes));
    producer_ = std::thread([this] { produce(); });
    if (hash_beside_) return;
    try {
        hasher_ = std::thread([this] { hash(); });
    } catch (...) {
        stop();
        throw;
    }
}

void LayerStream::stop() {
    source_.stop();
    hashed_.close();
    decompressed_.close();
    empty_.close();
    producer_.join();
    if (hasher_.joinable()) hasher_.join();
}

void LayerStream::produce() {
    try {
        const auto unpacked = form_ == Form::packed ? decompress(source_) : nullptr;
        ByteSource& tar = unpacked ? *unpacked : source_;
        while (auto block = empty_.pop()) {
            block->resize(block_bytes);
            const auto count = tar.read(*block);
            block->resize(count);
            if (count == 0) break;
            limit_.grow(count);
            if (!decompressed_.push(std::move(*block))) return;
        }
        // What follows the compressed content: the source must see its stream read to the end.
        std::array<std::byte, 65536> rest;
        while (source_.read(rest) > 0) {
        }
    } catch (...) {
        failure_ = std::current_exception();
    }
    decompressed_.close();
}

void LayerStream::hash() {
    try {
        Sha256 hash;
        while (auto block = decompressed_.pop()) {
            hash.update(*block);
            if (!hashed_.push(std::move(*block))) return;
        }
        diff_id_ = hash.finish();
    } catch (...) {
        hash_failure_ = std::current_exception();
        decompressed_.close();
    }
    hashed_.close();
}

void LayerStream::put_aside() {
    if (current_.empty()) return;
    waiting_.push_back(std::move(current_));
    while (backlog_.blocks() > max_waiting) backlog_.catch_up();
    while (waiting_.size() > backlog_.blocks()) {
        empty_.push(std::move(waiting_.front()));
        waiting_.pop_front();
    }
}

bool LayerStream::next_block() {
    put_aside();
    current_ = {};
    position_ = 0;
    auto block = (hash_beside_ ? decompressed_ : hashed_).pop();
    if (!block) {
        if (hash_failure_) std::rethrow_exception(hash_failure_);
        if (failure_) std::rethrow_exception(failure_);
        return false;
    }
    current_ = std::move(*block);
    total_ += current_.size();
    if (hash_beside_) backlog_.add(current_);
    return true;
}

std::size_t LayerStream::read(std::span<std::byte> buffer) {
    std::size_t filled = 0;
    while (filled < buffer.size()) {
        if (position_ == current_.size() && !next_block()) break;
        const auto count = std::min(buffer.size() - filled, current_.size() - position_);
        std::memcpy(buffer.data() + filled, current_.data() + position_, count);
        position_ += count;
        filled += count;
    }
    return filled;
}

std::span<const std::byte> LayerStream::next_piece(std::span<std::byte>) {
    if (position_ == current_.size() && !next_block()) return {};
    return std::span(current_).subspan(std::exchange(position_, current_.size()));
}

Checksum LayerStream::finish() {
    while (next_block()) {
    }
    return hash_beside_ ? backlog_.finish() : diff_id_;
}

}  // namespace imaged
