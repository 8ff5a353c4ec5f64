// SPDX-License-Identifier: Apache-2.0
// Loads the module that runs jobs: libostree needs some fifty libraries, and skopeo starts while they are loaded.
#pragma once

#include <memory>

#include "base/cancellation.hpp"
#include "job/job.hpp"
#include "job/kinds.hpp"
#include "progress-meter.hpp"
#include "source/skopeo/skopeo-run.hpp"

namespace imaged {

// Loads imaged-jobs.so, which lies beside this program, and does what run_job() (run-job.hpp) does. Throws
// Error(failed) without the module.
job::Result run_loaded_job(const job::Request& request, std::shared_ptr<SkopeoRun> proxy, Cancellation& cancellation,
                           ProgressMeter& meter);

// The module's symbol. It throws what run_job() throws.
using RunJob = void(const job::Request& request, std::shared_ptr<SkopeoRun> proxy, Cancellation& cancellation,
                    ProgressMeter& meter, job::Result& result);
inline constexpr const char* run_job_symbol = "imaged_run_job";

}  // namespace imaged
