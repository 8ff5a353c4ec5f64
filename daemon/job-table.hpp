// SPDX-License-Identifier: Apache-2.0
// All jobs of the daemon: the queue, the worker of the running one, and the bus objects of these and of those that
// finished lately. Bus thread only.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "job-object.hpp"
#include "job-queue.hpp"
#include "worker-process.hpp"

namespace imaged {

class JobTable : private JobQueueObserver {
public:
    // What the rest of the daemon hears of; none may throw.
    struct Events {
        std::function<void(JobId)> added;
        std::function<void(JobId, const std::string& result)> removed;
        std::function<void(const std::string& image, const std::string& old_digest, const std::string& new_digest)>
            image_changed;
        JobObject::OnCancel cancel_asked;
    };

    // CONNECTION and LOOP outlive the table.
    JobTable(sdbus::IConnection& connection, EventLoop& loop, WorkerSettings settings, Events events);
    ~JobTable() override;

    JobQueue& queue() { return queue_; }
    // For jobs that start later.
    void set_worker(WorkerSettings settings) { settings_ = std::move(settings); }
    // Queued, running and lately finished ones, oldest first.
    const std::map<JobId, std::unique_ptr<JobObject>>& objects() const { return objects_; }
    bool contains(JobId id) const { return objects_.contains(id); }

private:
    struct Running {
        JobId id;
        std::unique_ptr<WorkerProcess> process;
    };

    void job_added(const QueuedJob& job) override;
    void job_moved(const QueuedJob& job, std::uint32_t position) override;
    void job_finished(const QueuedJob& job, const job::Result& result) override;
    void start_job(const QueuedJob& job, JobFiles files) override;
    void stop_job(JobId id) override;

    void worker_said(JobId id, const job::Message& message);
    void worker_ended(JobId id, const job::Result& result);
    void tell_changed_images(const job::Result& result);
    void forget(JobId id);
    void forget_oldest();

    sdbus::IConnection& connection_;
    EventLoop& loop_;
    WorkerSettings settings_;
    const Events events_;
    JobQueue queue_{*this};
    std::map<JobId, std::unique_ptr<JobObject>> objects_;
    std::map<JobId, EventLoop::TimerId> finished_;
    std::optional<Running> running_;
};

}  // namespace imaged
