// SPDX-License-Identifier: Apache-2.0
#include "base/task-group.hpp"

#include <algorithm>
#include <atomic>
#include <system_error>

namespace imaged {

void run_in_threads(unsigned threads, std::size_t count, const std::function<void(std::size_t)>& work,
                    const std::function<void()>& on_failure) {
    std::atomic<std::size_t> next = 0;
    std::mutex mutex;
    std::exception_ptr failure;
    const auto run = [&] {
        for (auto number = next++; number < count; number = next++) {
            try {
                work(number);
            } catch (...) {
                next = count;
                const std::lock_guard lock(mutex);
                if (!failure) failure = std::current_exception();
                if (on_failure) on_failure();
            }
        }
    };
    {
        std::vector<std::jthread> others;
        const auto wanted = static_cast<unsigned>(std::min<std::size_t>(threads, count));
        try {
            if (wanted > 1) others = start_threads(wanted - 1, run);
        } catch (const std::system_error&) {
            // This thread does it alone.
        }
        run();
    }
    if (failure) std::rethrow_exception(failure);
}

std::vector<std::jthread> start_threads(unsigned threads, const std::function<void()>& work) {
    std::vector<std::jthread> started;
    started.reserve(threads);
    try {
        while (started.size() < threads) started.emplace_back(work);
    } catch (const std::system_error&) {
        if (started.empty()) throw;
    }
    return started;
}

TaskGroup::~TaskGroup() {
    std::unique_lock lock(mutex_);
    idle_.wait(lock, [&] { return pending_ == 0; });
}

void TaskGroup::wait() {
    std::unique_lock lock(mutex_);
    idle_.wait(lock, [&] { return pending_ == 0; });
    if (failure_) std::rethrow_exception(failure_);
}

void TaskGroup::begin() {
    const std::lock_guard lock(mutex_);
    if (failure_) std::rethrow_exception(failure_);
    ++pending_;
}

void TaskGroup::end(const std::exception_ptr& failure) {
    const std::lock_guard lock(mutex_);
    if (failure && !failure_) failure_ = failure;
    if (--pending_ == 0) idle_.notify_all();
}

}  // namespace imaged
