// SPDX-License-Identifier: Apache-2.0
#include "delta/delta-workers.hpp"

#include <utility>

namespace imaged::delta {

namespace {

// A thread keeps the tables of its last frame for the next one up to this.
constexpr std::uint64_t kept_memory = 8ULL * 1024 * 1024;

}  // namespace

void DeltaWorkers::Worker::need(std::uint64_t memory) {
    auto& used = workers_.used_;
    std::unique_lock lock(workers_.mutex_);
    used -= std::exchange(memory_, 0);
    workers_.freed_.notify_all();
    if (memory > 0) workers_.freed_.wait(lock, [&] { return used == 0 || used + memory <= workers_.memory_; });
    used += memory;
    memory_ = memory;
}

void DeltaWorkers::work() {
    Worker worker(*this);
    while (auto job = waiting_.pop()) {
        worker.need(job->memory);
        job->run(worker);
        job->run = {};
        if (worker.memory_ > kept_memory) worker.frames_.release();
        worker.need(0);
    }
}

}  // namespace imaged::delta
