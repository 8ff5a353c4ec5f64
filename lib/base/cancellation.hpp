// SPDX-License-Identifier: Apache-2.0
// A request to stop, seen by every thread of a job.
#pragma once

#include <atomic>

#include "base/file-descriptor.hpp"

namespace imaged {

// Shared by reference; outlives every thread that looks at it. All members are thread-safe, request() also inside a
// signal handler.
class Cancellation {
public:
    Cancellation();
    void request() noexcept;
    // What is requested here from now on is requested of PART too, which lives as long. Only the last one counts.
    void forward_to(Cancellation& part) noexcept { part_.store(&part); }
    bool requested() const noexcept { return requested_.load(std::memory_order_relaxed); }
    // Throws Error(cancelled) once requested.
    void check() const;
    // Readable once requested, for poll(2).
    int fd() const { return event_.get(); }

private:
    std::atomic<bool> requested_ = false;
    std::atomic<Cancellation*> part_ = nullptr;
    FileDescriptor event_;
};

}  // namespace imaged
