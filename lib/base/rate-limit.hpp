// SPDX-License-Identifier: Apache-2.0
// Limits the bytes per second that several readers read together. Thread-safe.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>

namespace imaged {

class RateLimit {
public:
    using Clock = std::chrono::steady_clock;

    // BYTES a second, at least one.
    explicit RateLimit(std::uint64_t bytes) : bytes_(bytes) {}
    // Bytes to read at once, so that a reader waits often and not long.
    std::size_t piece() const;
    // Counts BYTES that were read at NOW. Returns when the reader may read on. Of the time in which nobody read, a
    // tenth of a second is made up for: readers wake late, and wait for the next part of what they read.
    Clock::time_point take(std::size_t bytes, Clock::time_point now = Clock::now());

private:
    const std::uint64_t bytes_;
    std::mutex mutex_;
    Clock::time_point free_{};  // when what was counted so far has had its time
};

}  // namespace imaged
