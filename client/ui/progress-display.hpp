// SPDX-License-Identifier: Apache-2.0
// Shows a job's progress on standard error: a live display on a terminal, plain lines elsewhere, or no output.
//
// One per followed job, used from one thread. A frame is one write that ends with the cursor visible and at the start
// of a fresh line, so no way of ending, SIGKILL included, leaves the terminal in another state than it was found in.
#pragma once

#include <cstdint>
#include <set>
#include <string>

#include "ui/progress-layout.hpp"
#include "ui/transfer-rate.hpp"

namespace imagectl {

enum class ProgressStyle { none, lines, live };

// `live` when standard error is a terminal that can move its cursor, else `lines`; `none` when not WANTED.
ProgressStyle progress_style(bool wanted);

class ProgressDisplay {
public:
    // PREFIX is put before every plain line, to tell jobs apart.
    explicit ProgressDisplay(ProgressStyle style, std::string prefix = {})
        : style_(style), prefix_(std::move(prefix)) {}

    // Shows JOB as it is now. The live display draws at most ten times a second; lines print only changes.
    void update(const JobStatus& job);
    // Removes the live display. Call last.
    void finish();
    // Prints TEXT as a line of its own, above the live display.
    void say(const std::string& text);

private:
    void draw(const JobStatus& job);
    void print_news(const JobStatus& job);
    void erase(std::string& frame);

    ProgressStyle style_;
    std::string prefix_;
    TransferRate rate_;
    std::int64_t last_drawn_ = 0;  // monotonic microseconds
    std::size_t drawn_lines_ = 0;
    std::string said_phase_;
    std::set<std::uint32_t> said_layers_;
};

}  // namespace imagectl
