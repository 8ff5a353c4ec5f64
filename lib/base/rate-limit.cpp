// SPDX-License-Identifier: Apache-2.0
#include "base/rate-limit.hpp"

#include <algorithm>

namespace imaged {

namespace {

constexpr std::uint64_t pieces_a_second = 10;
constexpr std::chrono::milliseconds made_up_for(1000 / pieces_a_second);
constexpr std::uint64_t least_piece = 1024, largest_piece = 16ULL << 20;

}  // namespace

std::size_t RateLimit::piece() const {
    return static_cast<std::size_t>(std::clamp(bytes_ / pieces_a_second, least_piece, largest_piece));
}

RateLimit::Clock::time_point RateLimit::take(std::size_t bytes, Clock::time_point now) {
    const std::chrono::duration<double> time(static_cast<double>(bytes) / static_cast<double>(bytes_));
    const std::lock_guard lock(mutex_);
    free_ = std::max(free_, now - made_up_for) + std::chrono::duration_cast<Clock::duration>(time);
    return free_;
}

}  // namespace imaged
