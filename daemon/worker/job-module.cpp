// SPDX-License-Identifier: Apache-2.0
#include "job-module.hpp"

#include <utility>

#include "base/module.hpp"

namespace imaged {

job::Result run_loaded_job(const job::Request& request, std::shared_ptr<SkopeoRun> proxy, Cancellation& cancellation,
                           ProgressMeter& meter) {
    auto* run = reinterpret_cast<RunJob*>(load_symbol("imaged-jobs.so", run_job_symbol, "the jobs"));
    job::Result result;
    run(request, std::move(proxy), cancellation, meter, result);
    return result;
}

}  // namespace imaged
