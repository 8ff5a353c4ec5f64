// SPDX-License-Identifier: Apache-2.0
#include "layer/byte-source.hpp"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>

#include "base/error.hpp"

namespace imaged {

namespace {

constexpr std::chrono::milliseconds slice(100);
constexpr int slow_stall_times = 4;
// A source this slow loses nothing by waiting for its end.
constexpr std::chrono::milliseconds idle_time(500);

}  // namespace

DescriptorSource::DescriptorSource(int fd, const Cancellation& cancellation, Options options)
    : fd_(fd), cancellation_(cancellation), options_(std::move(options)) {}

bool DescriptorSource::kept_waiting() {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(free_ - RateLimit::Clock::now());
    if (left.count() <= 0) return false;
    pollfd cancelled{cancellation_.fd(), POLLIN, 0};
    ::poll(&cancelled, 1, static_cast<int>(std::min(left, slice).count()));
    return true;
}

std::size_t DescriptorSource::read(std::span<std::byte> buffer) {
    std::size_t filled = 0;
    auto waited = std::chrono::milliseconds(0);
    while (filled < buffer.size() && !ended_) {
        if (options_.complete && !completed_ && (total_ >= options_.expected_bytes || waited >= idle_time)) {
            completed_ = true;
            options_.complete();
        }
        const bool kept = kept_waiting();
        pollfd fds[] = {{fd_, POLLIN, 0}, {cancellation_.fd(), POLLIN, 0}};
        const auto asked = std::chrono::steady_clock::now();
        const int ready = kept ? 0 : ::poll(fds, 2, static_cast<int>(slice.count()));
        slow_time_ += std::chrono::steady_clock::now() - asked;
        cancellation_.check();
        if (stopped_) throw Error(ErrorKind::cancelled, "reading was stopped");
        if (kept) continue;
        if (ready < 0 && errno != EINTR) throw_errno("poll");
        if (ready == 0) {
            waited += slice;
            if (waited >= options_.stall_time)
                throw Error(ErrorKind::source_unreachable, "the source stalled: nothing came for " +
                                                               std::to_string(options_.stall_time.count() / 1000) +
                                                               " seconds");
        }
        if (slow_time_ >= slow_stall_times * options_.stall_time) {
            if (received_ - slow_received_ < options_.least_bytes)
                throw Error(ErrorKind::source_unreachable,
                            "the source is too slow: " + std::to_string(received_ - slow_received_) + " bytes in " +
                                std::to_string(slow_stall_times * options_.stall_time.count() / 1000) + " seconds");
            slow_time_ = {};
            slow_received_ = received_;
        }
        if (ready <= 0) continue;
        waited = std::chrono::milliseconds(0);
        const auto wanted = buffer.size() - filled;
        const auto count = ::read(fd_, buffer.data() + filled,
                                  options_.rate != nullptr ? std::min(wanted, options_.rate->piece()) : wanted);
        if (count < 0) {
            if (errno == EINTR || errno == EAGAIN) continue;
            throw_errno("read from the source");
        }
        if (count == 0) ended_ = true;
        if (options_.rate != nullptr) free_ = options_.rate->take(static_cast<std::size_t>(count));
        received_ += static_cast<std::uint64_t>(count);
        auto left = static_cast<std::size_t>(count);
        if (options_.taken && count > 0) left = options_.taken(buffer.subspan(filled, left));
        filled += left;
        total_ += left;
        if (total_ > options_.expected_bytes)
            throw Error(ErrorKind::digest_mismatch, "the blob has more than the " +
                                                        std::to_string(options_.expected_bytes) +
                                                        " bytes that the manifest says");
    }
    return filled;
}

}  // namespace imaged
