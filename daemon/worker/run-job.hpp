// SPDX-License-Identifier: Apache-2.0
// A request, done: the function of the store that its kind stands for, with its arguments, and what that found as a
// result. Throws what the store throws.
#pragma once

#include "base/cancellation.hpp"
#include "job/job.hpp"
#include "progress-meter.hpp"

namespace imaged {

job::Result run_job(const job::Request& request, Cancellation& cancellation, ProgressMeter& meter);

}  // namespace imaged
