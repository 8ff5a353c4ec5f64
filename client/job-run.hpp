// SPDX-License-Identifier: Apache-2.0
// Runs imagectl while jobs run: progress, Ctrl-C, exit.
//
// One main loop per run. The first SIGINT, SIGTERM or SIGHUP cancels the job (or, for an onlooker, leaves it alone and
// stops looking); the second leaves at once.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "bus/connection.hpp"
#include "bus/job-monitor.hpp"
#include "ui/progress-display.hpp"

namespace imagectl {

enum class Interrupt { cancels, leaves };

struct RunOptions {
    ProgressStyle progress = ProgressStyle::none;
    Interrupt interrupt = Interrupt::cancels;
    std::optional<int> events_fd = {};  // for ProgressEvents
    bool detach = false;                // return as soon as the job exists
    bool until_idle = false;            // also follow the jobs that appear meanwhile
    bool asks_here = false;             // an agent may be asking for a password on this terminal
};

struct StartedJob {
    std::uint32_t id;
    std::string path;
};

struct RunResult {
    std::vector<FollowedJob> ended;      // in the order of their ends
    std::optional<StartedJob> detached;  // which is not followed
    bool interrupted = false;            // left before the end
};

// Starts a job with CALL, whose answer is (uo), and follows it to its end. Throws BusError when it cannot be started or
// followed.
RunResult run_new_job(const Connection& connection, Call call, const RunOptions& options);

// Follows the job SELECTED, or all that are not finished, until their ends. Throws BusError NotFound when there is no
// such job.
RunResult run_listed_jobs(const Connection& connection, std::optional<std::uint32_t> selected,
                          const RunOptions& options);

// "(a(uoss))" as numbers and paths, oldest first; with kinds and states.
struct ListedJob {
    std::uint32_t id;
    std::string path, kind, state;
};
std::vector<ListedJob> listed_jobs(GVariant* answer);

}  // namespace imagectl
