// SPDX-License-Identifier: Apache-2.0
// Threads that write small files, so that creating one does not hold up reading the next.
#pragma once

#include <functional>
#include <thread>
#include <vector>

#include "base/bounded-queue.hpp"

namespace imaged {

// Thread-safe. Tasks must not throw; the destructor waits for all of them.
class WriterPool {
public:
    explicit WriterPool(unsigned threads);
    ~WriterPool();
    WriterPool(const WriterPool&) = delete;
    WriterPool& operator=(const WriterPool&) = delete;

    // Waits for room in the queue.
    void submit(std::function<void()> task) { queue_.push(std::move(task)); }

private:
    // With at most ObjectSink::max_small_bytes each: 4 MiB of content in flight.
    static constexpr std::size_t queue_length = 32;
    BoundedQueue<std::function<void()>> queue_{queue_length};
    std::vector<std::thread> threads_;
};

}  // namespace imaged
