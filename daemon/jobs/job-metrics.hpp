// SPDX-License-Identifier: Apache-2.0
// Counts what imaged does, as text for Prometheus (exposition format 0.0.4).
//
// A file keeps the numbers beyond the life of this daemon, which ends when it is idle: to read them starts no daemon.
// The file lies below /run, so the counters begin anew with each boot.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "base/file-descriptor.hpp"
#include "job/job.hpp"
#include "job/kinds.hpp"
#include "process/event-loop.hpp"

namespace imaged {

// Bus thread only.
class JobMetrics {
public:
    // Goes on from what FILE has; without a name nothing is kept. LOOP outlives the object. A file that cannot be read
    // or written is logged.
    JobMetrics(EventLoop& loop, std::string file);
    // Leaves what no daemon runs, and all that was counted.
    ~JobMetrics();
    JobMetrics& operator=(JobMetrics&&) = delete;

    // FETCHED_BYTES: compressed, of layers, also of a job that did not succeed.
    void job_ended(const job::Request& request, const job::Result& result, std::uint64_t fetched_bytes);
    // A job of KIND has ended a PHASE, which has its name from the list at Job.Phase in the interface.
    void phase_ended(std::string_view kind, std::string_view phase, EventLoop::Clock::duration time);
    void set_jobs(std::size_t waiting, std::size_t running);
    // UPDATES: of images with an update that is remembered.
    void set_images(std::uint32_t images, std::uint32_t damaged, std::uint32_t updates);

private:
    void add(std::string series, double value);
    void set(std::string series, double value);
    void write_later();
    void write() noexcept;

    EventLoop& loop_;
    const std::string file_;
    FileDescriptor lock_;                   // while it is held, a daemon runs
    std::map<std::string, double> values_;  // by series: name{label="value",…}
    EventLoop::Timer timer_;
};

// The text that a JobMetrics has left in FILE, jobs left out where no daemon runs; that nothing runs where there is
// none. Throws Error(failed) for a file that cannot be read.
std::string read_metrics(const std::string& file);

}  // namespace imaged
