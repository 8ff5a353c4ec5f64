// SPDX-License-Identifier: Apache-2.0
#include "job-module.hpp"

#include <dlfcn.h>

#include <filesystem>
#include <utility>

#include "base/error.hpp"

namespace imaged {

job::Result run_loaded_job(const job::Request& request, std::shared_ptr<SkopeoProcess> proxy,
                           Cancellation& cancellation, ProgressMeter& meter) {
    const auto path = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "imaged-jobs.so";
    void* module = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (module == nullptr) throw Error(ErrorKind::failed, std::string("load the jobs: ") + ::dlerror());
    auto* run = reinterpret_cast<RunJob*>(::dlsym(module, run_job_symbol));
    if (run == nullptr) throw Error(ErrorKind::failed, std::string("load the jobs: ") + ::dlerror());
    job::Result result;
    run(request, std::move(proxy), cancellation, meter, result);
    return result;
}

}  // namespace imaged
