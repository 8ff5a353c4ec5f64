// SPDX-License-Identifier: Apache-2.0
#include "base/content-hash.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <span>
#include <vector>

#include "base/error.hpp"
#include "base/paired-sha256.hpp"

namespace imaged {

namespace {

// Of one file. Small enough to come from the heap.
constexpr std::size_t buffer_bytes = std::size_t{64} * 1024;

class Reading {
public:
    Reading(int file, const Cancellation& cancellation, std::uint64_t offset = 0,
            std::uint64_t size = std::numeric_limits<std::uint64_t>::max())
        : file_(file), cancellation_(cancellation), buffer_(buffer_bytes), offset_(offset), left_(size) {}

    // What is read and not hashed yet; empty at the end.
    std::span<const std::byte> next() {
        if (!rest_.empty() || left_ == 0) return rest_;
        cancellation_.check();
        for (;;) {
            const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(left_, buffer_.size()));
            const auto count = ::pread(file_, buffer_.data(), wanted, static_cast<off_t>(offset_));
            if (count < 0 && errno == EINTR) continue;
            if (count < 0) throw_errno("read a file");
            rest_ = std::span(buffer_).first(static_cast<std::size_t>(count));
            offset_ += rest_.size();
            left_ = rest_.empty() ? 0 : left_ - rest_.size();
            return rest_;
        }
    }
    void drop(std::size_t count) { rest_ = rest_.subspan(count); }
    PairedSha256& hash() { return hash_; }
    Checksum finish() {
        while (!next().empty()) {
            hash_.update(rest_);
            rest_ = {};
        }
        return hash_.finish();
    }

private:
    const int file_;
    const Cancellation& cancellation_;
    std::vector<std::byte> buffer_;
    std::span<const std::byte> rest_;
    std::uint64_t offset_, left_;
    PairedSha256 hash_;
};

}  // namespace

Checksum content_of(int file, const Cancellation& cancellation, std::uint64_t offset, std::uint64_t size) {
    return Reading(file, cancellation, offset, size).finish();
}

std::array<Checksum, 2> contents_of(const std::array<int, 2>& files, const Cancellation& cancellation) {
    Reading first(files[0], cancellation), second(files[1], cancellation);
    while (!first.next().empty() && !second.next().empty()) {
        const auto count = std::min(first.next().size(), second.next().size());
        PairedSha256::update_both(first.hash(), first.next().first(count), second.hash(), second.next().first(count));
        first.drop(count);
        second.drop(count);
    }
    return {first.finish(), second.finish()};
}

}  // namespace imaged
