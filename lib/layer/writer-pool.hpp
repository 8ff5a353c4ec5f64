// SPDX-License-Identifier: Apache-2.0
// Threads that write small files, so that creating one file does not delay reading the next.
#pragma once

#include <functional>
#include <thread>
#include <vector>

#include "base/bounded-queue.hpp"
#include "base/task-group.hpp"

namespace imaged {

// Thread-safe. Tasks must not throw; the destructor waits for all of them.
class WriterPool {
public:
    explicit WriterPool(unsigned threads)
        : threads_(start_threads(threads, [this] {
              while (auto task = queue_.pop()) (*task)();
          })) {}
    ~WriterPool() { queue_.close(); }
    WriterPool& operator=(WriterPool&&) = delete;

    // Waits for room in the queue for a task that holds so many BYTES.
    void submit(std::size_t bytes, std::function<void()> task) { queue_.push(std::move(task), bytes + task_bytes); }

private:
    // Content in flight, and what a task takes beside its content. Many small files may wait, so that their readers run
    // on while a writer waits for the file system.
    static constexpr std::size_t queue_bytes = 8 * 1024 * 1024, task_bytes = 1024;
    BoundedQueue<std::function<void()>> queue_{queue_bytes};
    std::vector<std::jthread> threads_;  // last: they use all of the above
};

}  // namespace imaged
