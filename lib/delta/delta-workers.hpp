// SPDX-License-Identifier: Apache-2.0
// Threads that compare and compress parts of files for all layers of a delta, within one limit of memory.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/bounded-queue.hpp"
#include "base/task-group.hpp"
#include "delta/prefix-frame.hpp"

namespace imaged::delta {

class DeltaWorkers {
public:
    // MEMORY, in bytes, is for all tasks together; one that needs more is done alone.
    DeltaWorkers(unsigned threads, std::uint64_t memory)
        : memory_(memory), threads_(start_threads(threads, [this] { work(); })) {}
    // Waits for the tasks.
    ~DeltaWorkers() { waiting_.close(); }
    DeltaWorkers& operator=(DeltaWorkers&&) = delete;

    // The thread that does a task.
    class Worker {
    public:
        PrefixFrames& frames() { return frames_; }
        // Waits until the task may take MEMORY bytes in all. Meanwhile other tasks may take what it was allowed before.
        void need(std::uint64_t memory);

    private:
        friend class DeltaWorkers;
        explicit Worker(DeltaWorkers& workers) : workers_(workers) {}
        DeltaWorkers& workers_;
        PrefixFrames frames_;
        std::uint64_t memory_ = 0;
    };

    // Has a thread call TASK, which takes MEMORY bytes. Waits while many tasks are waiting. Thread-safe.
    template <typename Task>
    auto run(std::uint64_t memory, Task task) {
        using Result = decltype(task(std::declval<Worker&>()));
        auto packaged = std::make_shared<std::packaged_task<Result(Worker&)>>(std::move(task));
        auto result = packaged->get_future();
        waiting_.push({memory, [packaged](Worker& worker) { (*packaged)(worker); }});
        return result;
    }

private:
    struct Job {
        std::uint64_t memory;
        std::function<void(Worker&)> run;
    };
    void work();

    const std::uint64_t memory_;
    std::mutex mutex_;
    std::condition_variable freed_;
    std::uint64_t used_ = 0;
    BoundedQueue<Job> waiting_{16};
    std::vector<std::jthread> threads_;  // last: they use all of the above
};

}  // namespace imaged::delta
