// SPDX-License-Identifier: Apache-2.0
// Computes how fast bytes arrived over the last few seconds, and how long the rest will take. The caller passes the
// time: this class reads no clock.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>

namespace imagectl {

class TransferRate {
public:
    // DONE bytes in all at NOW (microseconds of a monotonic clock). A count that falls starts the measurement again.
    void add(std::int64_t now, std::uint64_t done);
    // Bytes per second; nullopt in the first half second.
    std::optional<double> rate(std::int64_t now) const;
    // Seconds until DONE is TOTAL; nullopt while the rate is not known, or no bytes arrive.
    std::optional<double> remaining(std::int64_t now, std::uint64_t done, std::uint64_t total) const;

private:
    struct Sample {
        std::int64_t time;
        std::uint64_t done;
    };
    std::deque<Sample> samples_;  // oldest first, none closer than 0.1 s to the next, spanning about 5 s
};

}  // namespace imagectl
