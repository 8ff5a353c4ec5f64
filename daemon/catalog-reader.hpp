// SPDX-License-Identifier: Apache-2.0
// Reads the repository on a thread of its own, so that a slow disk never delays the bus. Requests are answered in
// order.
//
// The repository is opened by the first request, and again if it, its objects directory or its configuration was
// replaced.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "catalog.hpp"
#include "event-loop.hpp"

namespace imaged {

class CatalogReader {
public:
    // The open repository; null where none has been made yet. Throws Error(repository_damaged).
    using Open = std::function<Catalog*()>;
    // Runs on the reader's thread and must not throw; what it returns is run on the bus thread.
    using Task = std::function<EventLoop::Callback(const Open& open)>;

    CatalogReader(EventLoop& loop, std::string repository);
    // Waits for the request that is being answered; those behind it are dropped.
    ~CatalogReader();
    CatalogReader(const CatalogReader&) = delete;
    CatalogReader& operator=(const CatalogReader&) = delete;

    // Throws Error(queue_full) when too many requests wait.
    void ask(Task task);

private:
    void work();
    Catalog* open();

    EventLoop& loop_;
    const std::string repository_;
    std::unique_ptr<Catalog> catalog_;  // the thread's own

    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<Task> tasks_;
    bool ending_ = false;
    std::thread thread_;
};

// "bare", "bare-user", "bare-user-only" or "archive"; empty when REPOSITORY has no readable config. One small file is
// read.
std::string repository_mode(const std::string& repository);

}  // namespace imaged
