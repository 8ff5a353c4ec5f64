// SPDX-License-Identifier: Apache-2.0
// Repeats a job whose source cannot be reached or stalls; an attempt reuses what earlier ones stored. No other failure
// gets better by waiting.
#pragma once

#include <functional>

#include "base/cancellation.hpp"
#include "job/job.hpp"

namespace imaged {

// One attempt; its own cancellation, because a failing layer requests it.
using Attempt = std::function<job::Result(Cancellation& cancellation)>;

// Runs ATTEMPT, and again up to RETRIES times while it throws Error(source_unreachable). Throws the last error, without
// further attempts if its source asks for a pause of more than 30 seconds. JOB cancels the attempt and the pauses.
job::Result with_retries(unsigned retries, Cancellation& job, const Attempt& attempt);

}  // namespace imaged
