// SPDX-License-Identifier: Apache-2.0
// A request to stop, seen by every thread of a job.
#pragma once

#include <atomic>
#include <list>

#include "base/file-descriptor.hpp"

namespace imaged {

// Shared by reference; outlives every thread that looks at it. All members are thread-safe, request() also inside a
// signal handler.
class Cancellation {
public:
    Cancellation();
    void request() noexcept;
    // A cancellation for a part of the job whose failure does not end the rest: requested with this one, and not the
    // other way round. Only the last part follows. Owned by this, and kept with it: a signal may be on its way to it.
    // Not thread-safe.
    Cancellation& begin_part();
    bool requested() const noexcept { return requested_.load(std::memory_order_relaxed); }
    // Throws Error(cancelled) once requested.
    void check() const;
    // Readable once requested, for poll(2).
    int fd() const { return event_.get(); }

private:
    std::atomic<bool> requested_ = false;
    std::atomic<Cancellation*> part_ = nullptr;
    std::list<Cancellation> parts_;
    FileDescriptor event_;
};

}  // namespace imaged
