// SPDX-License-Identifier: Apache-2.0
// What the verbs that start or follow a job share: the options they send, and how they tell of the end.
#pragma once

#include "command-line.hpp"
#include "exit-code.hpp"
#include "job-run.hpp"

namespace imagectl {

// Starts METHOD (Pull, Import, Prepare) as ARGUMENTS say, follows it unless detached, prints its outcome.
ExitCode run_job_verb(const Arguments& arguments, const char* method);

// Prints how JOB ended: its outcome on standard output, an error on standard error.
ExitCode report_end(const Arguments& arguments, const FollowedJob& job);

// TEXT on standard output. Throws BusError when it cannot be written.
void print_result(const std::string& text);

}  // namespace imagectl
