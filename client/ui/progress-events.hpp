// SPDX-License-Identifier: Apache-2.0
// Prints a job's progress for programs: JSON objects, one a line, with the fields of bootc's progress protocol 0.1.0
// (Start, ProgressBytes, ProgressSteps; docs/imagectl-json.md). One object per followed job; one thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "ui/progress-layout.hpp"

namespace imagectl {

class ProgressEvents {
public:
    // Writes to the descriptor FD, if there is one, which is borrowed, and is to be one that waits. Once it cannot be
    // written, nothing is written any more; the job goes on.
    explicit ProgressEvents(std::optional<int> fd) : fd_(fd) {}

    // At most five lines a second, and one when another phase begins and at the end.
    void update(const JobStatus& job);

private:
    void write_line(std::string line);

    std::optional<int> fd_;
    bool started_ = false;
    std::int64_t last_ = 0;  // monotonic microseconds
    std::string phase_;
};

// JOB as one line without its end; public for its test.
std::string progress_event(const JobStatus& job);

}  // namespace imagectl
