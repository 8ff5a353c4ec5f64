// SPDX-License-Identifier: Apache-2.0
// Reads the repository on a thread of its own, so that a slow disk never delays the bus.
//
// Users take turns: of each, requests are answered in their order; root's come first. The next request is begun when
// the bus has taken the answer of the one before. The repository is opened by the first request, and again if it,
// its objects directory or its configuration was replaced.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "authority.hpp"
#include "catalog.hpp"
#include "event-loop.hpp"

namespace imaged {

// "bare", "bare-user", "bare-user-only" or "archive"; empty when the repository has no readable config. Reads the disk.
std::string repository_mode(const std::string& repository);

class CatalogReader {
public:
    // The open repository; null where none has been made yet. Throws Error(repository_damaged).
    using Open = std::function<Catalog*()>;
    // Runs on the reader's thread and must not throw; what it returns is run on the bus thread.
    using Task = std::function<EventLoop::Callback(const Open& open)>;

    CatalogReader(EventLoop& loop, std::string repository);
    // Requests that wait are dropped. The one that is being answered is abandoned: it may hang on a file system, and
    // nobody waits for it.
    ~CatalogReader();
    CatalogReader(const CatalogReader&) = delete;
    CatalogReader& operator=(const CatalogReader&) = delete;

    // Bus thread only. Throws Error(queue_full) when too many requests wait, in all or of the caller's user.
    void ask(const Caller& caller, Task task);

    // What repository_mode() found when refresh_mode() was called last.
    std::string mode() const;
    // Looks again, on a thread of its own.
    void refresh_mode();

private:
    // What the threads share, which may outlive this object.
    struct Shared;
    static void work(const std::shared_ptr<Shared>& shared);

    const std::shared_ptr<Shared> shared_;
    bool started_ = false;
};

}  // namespace imaged
