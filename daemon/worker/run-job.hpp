// SPDX-License-Identifier: Apache-2.0
// Runs one job: calls the function of the store for the request's kind, and returns the outcome as a result. Is in the
// module that imaged-worker loads. Throws what the store throws.
#pragma once

#include <memory>

#include "base/cancellation.hpp"
#include "job/job.hpp"
#include "job/kinds.hpp"
#include "progress-meter.hpp"
#include "source/skopeo/skopeo-run.hpp"

namespace imaged {

// PROXY, if any, serves the job's image (proxy-start.hpp).
job::Result run_job(const job::Request& request, std::shared_ptr<SkopeoRun> proxy, Cancellation& cancellation,
                    ProgressMeter& meter);

}  // namespace imaged
