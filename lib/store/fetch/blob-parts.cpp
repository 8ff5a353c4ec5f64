// SPDX-License-Identifier: Apache-2.0
#include "store/fetch/blob-parts.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "base/error.hpp"

namespace imaged {

std::size_t BlobParts::read(std::span<std::byte> buffer) {
    std::size_t filled = 0;
    while (filled < buffer.size()) {
        ask_ahead();
        if (parts_.empty()) break;
        const auto room = buffer.subspan(filled);
        const auto count = parts_.front().bytes->read(room);
        filled += count;
        total_ += count;
        if (count < room.size()) finish_first();
    }
    return filled;
}

void BlobParts::finish() {
    std::array<std::byte, 1> rest;
    while (read(rest) > 0) {
    }
}

void BlobParts::stop() {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    for (auto& part : parts_) part.bytes->stop();
}

std::span<const BlobRange> BlobParts::next_ranges() const {
    const auto left = std::span(ranges_).subspan(asked_);
    std::size_t count = 1;
    for (auto bytes = left.front().length; count < std::min(left.size(), LayerSource::max_parts); ++count) {
        bytes += left[count].length;
        if (bytes > most_bytes && count >= least_ranges_) break;
    }
    return left.first(count);
}

void BlobParts::ask_ahead() {
    while (parts_.size() < ahead && asked_ < ranges_.size()) {
        const auto ranges = next_ranges();
        const auto length = bytes_of(ranges);
        auto blob = source_.open_parts(blob_, ranges);
        if (!blob) throw Error(ErrorKind::source_unreachable, "the source gives no parts of layers");
        auto* const part = blob.get();
        auto bytes =
            std::make_unique<DescriptorSource>(part->fd(), source_.cancellation(),
                                               DescriptorSource::Options{.stall_time = source_.stall_time(),
                                                                         .taken =
                                                                             [this, part](std::span<std::byte> taken) {
                                                                                 taken_(taken.size());
                                                                                 return part->take(taken);
                                                                             },
                                                                         .expected_bytes = length,
                                                                         .rate = source_.rate()});
        const std::lock_guard lock(mutex_);
        if (stopped_) throw Error(ErrorKind::cancelled, "reading was stopped");
        parts_.push_back({std::move(blob), std::move(bytes), length});
        asked_ += ranges.size();
    }
}

void BlobParts::finish_first() {
    auto& part = parts_.front();
    part.blob->finish();
    if (part.bytes->total() != part.length)
        throw Error(ErrorKind::source_unreachable, "the source gave another part of the layer than was asked for");
    const std::lock_guard lock(mutex_);
    parts_.pop_front();
}

}  // namespace imaged
