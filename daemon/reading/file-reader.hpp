// SPDX-License-Identifier: Apache-2.0
// A thread for tasks that may have to wait for a file system.
//
// Users take turns: of each, requests are answered in their order; root's come first. The next request is begun when
// the bus has taken the answer of the one before.
#pragma once

#include <functional>
#include <memory>

#include "jobs/authority.hpp"
#include "process/event-loop.hpp"

namespace imaged {

class FileReader {
public:
    // Runs on the reader's thread and must not throw; what it returns is run on the bus thread.
    using Task = std::function<EventLoop::Callback()>;

    explicit FileReader(EventLoop& loop);
    // Requests that wait are dropped. The one that is being answered is abandoned: it may hang on a file system, and
    // nobody waits for it.
    ~FileReader();
    FileReader& operator=(FileReader&&) = delete;

    // Bus thread only. Throws Error(queue_full) when too many requests wait, in all or of the caller's user.
    void ask(const Caller& caller, Task task);

private:
    // State that the threads share; it may outlive this object.
    struct Shared;
    static void work(const std::shared_ptr<Shared>& shared);

    const std::shared_ptr<Shared> shared_;
    bool started_ = false;
};

}  // namespace imaged
