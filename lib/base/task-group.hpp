// SPDX-License-Identifier: Apache-2.0
// Runs work on several threads and reports its first failure.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace imaged {

// Calls WORK with each number below COUNT, in order of their starts, in this thread and others, THREADS in all or fewer
// if the system allows no more. After a failure no further call is made; ON_FAILURE, which may end those under way, is
// called for each. Returns when all have ended; throws the first failure.
void run_in_threads(unsigned threads, std::size_t count, const std::function<void(std::size_t number)>& work,
                    const std::function<void()>& on_failure = {});

// Starts THREADS threads that each call WORK once, or fewer if the system allows no more. Throws std::system_error if it
// allows none. Destroying one waits for its end.
std::vector<std::jthread> start_threads(unsigned threads, const std::function<void()>& work);

// Tasks that other threads do for one thread. Outlives them: the destructor waits for all.
class TaskGroup {
public:
    TaskGroup() = default;
    ~TaskGroup();
    TaskGroup& operator=(TaskGroup&&) = delete;

    // TASK as a member of the group, which must be called once, in any thread, and does not throw. Throws the first
    // failure so far.
    template <typename Task>
    auto add(Task task) {
        begin();
        return [this, task = std::move(task)] {
            std::exception_ptr failure;
            try {
                task();
            } catch (...) {
                failure = std::current_exception();
            }
            end(failure);
        };
    }
    // For a task that reports its failure in another way: it counts as a task until its last copy is destroyed.
    std::shared_ptr<void> member() {
        begin();
        return {nullptr, [this](void*) { end({}); }};
    }
    // Waits until all that were added have ended; throws the first failure.
    void wait();

private:
    void begin();
    void end(const std::exception_ptr& failure);

    std::mutex mutex_;
    std::condition_variable idle_;
    std::size_t pending_ = 0;
    std::exception_ptr failure_;
};

}  // namespace imaged
