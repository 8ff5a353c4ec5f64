// SPDX-License-Identifier: Apache-2.0
// Knows whether the daemon is idle and may exit: the work in progress, and the time since the last call. Bus thread
// only; outlives its holds.
#pragma once

#include <chrono>
#include <cstddef>
#include <utility>

namespace imaged {

class Activity {
public:
    using Clock = std::chrono::steady_clock;

    // While one lives the daemon stays. Movable.
    class Hold {
    public:
        explicit Hold(Activity& activity) : activity_(&activity) {
            ++activity.holds_;
            activity.touch();
        }
        Hold(Hold&& other) noexcept : activity_(std::exchange(other.activity_, nullptr)) {}
        Hold& operator=(Hold&&) = delete;
        ~Hold() {
            if (activity_ == nullptr) return;
            --activity_->holds_;
            activity_->touch();
        }

    private:
        Activity* activity_;
    };

    void touch() { last_ = Clock::now(); }
    std::size_t holds() const { return holds_; }
    Clock::duration quiet_for() const { return Clock::now() - last_; }

private:
    std::size_t holds_ = 0;
    Clock::time_point last_ = Clock::now();
};

}  // namespace imaged
