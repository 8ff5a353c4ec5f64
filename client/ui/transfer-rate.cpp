// SPDX-License-Identifier: Apache-2.0
#include "ui/transfer-rate.hpp"

namespace imagectl {

namespace {
constexpr std::int64_t window = 5'000'000, spacing = 100'000, shortest = 500'000;
}

void TransferRate::add(std::int64_t now, std::uint64_t done) {
    if (!samples_.empty() && (done < samples_.back().done || now < samples_.back().time)) samples_.clear();
    // The newest sample moves with the count until it is far enough from the one before.
    if (samples_.size() >= 2 && samples_.back().time - samples_[samples_.size() - 2].time < spacing)
        samples_.back() = {now, done};
    else
        samples_.push_back({now, done});
    while (samples_.size() > 2 && now - samples_[1].time >= window) samples_.pop_front();
}

std::optional<double> TransferRate::rate(std::int64_t now) const {
    if (samples_.empty() || now - samples_.front().time < shortest) return {};
    // Measured to NOW and not to the last sample, so that a stall shows.
    return static_cast<double>(samples_.back().done - samples_.front().done) /
           (static_cast<double>(now - samples_.front().time) / 1e6);
}

std::optional<double> TransferRate::remaining(std::int64_t now, std::uint64_t done, std::uint64_t total) const {
    const auto speed = rate(now);
    if (!speed || *speed < 1 || done >= total) return {};
    return static_cast<double>(total - done) / *speed;
}

}  // namespace imagectl
