// SPDX-License-Identifier: Apache-2.0
// All jobs of the daemon: the queue, the workers of running jobs, and the bus objects of running and recently finished
// jobs. Bus thread only.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "bus/job-object.hpp"
#include "jobs/check-round.hpp"
#include "jobs/job-metrics.hpp"
#include "jobs/job-queue.hpp"
#include "jobs/worker-process.hpp"
#include "process/host-conditions.hpp"

namespace imaged {

class JobTable : private JobQueueObserver {
public:
    // All stored images, or why they are not known; the other one is empty.
    using Listed = std::function<void(const std::vector<StoredName>& images, const Error* error)>;
    // Called to notify the rest of the daemon; none may throw.
    struct Events {
        std::function<void(JobId)> added;
        std::function<void(JobId, const std::string& result)> removed;
        std::function<void(const job::ChangedImage&)> image_changed;
        std::function<void(const job::FoundUpdate&)> update_found;
        // Whether a job runs that may change the repository.
        std::function<void(bool changes)> changes;
        // Calls LISTED, at once or later.
        std::function<void(Listed listed)> images_wanted;
        // Calls the function, at once or later, as HostConditions does.
        std::function<void(bool network, HostConditions::Answer)> conditions_wanted;
        JobObject::OnCancel cancel_asked;
        JobObject::OnOutcome outcome_asked;
    };

    struct Files {
        std::string numbers, metrics;  // see JobNumbers and JobMetrics
    };

    // CONNECTION and LOOP outlive the table.
    JobTable(sdbus::IConnection& connection, EventLoop& loop, WorkerSettings settings, const Files& files,
             Events events);

    JobQueue& queue() { return queue_; }
    JobMetrics& metrics() { return metrics_; }
    // For jobs that start later.
    void set_worker(WorkerSettings settings) { settings_ = std::move(settings); }
    // Queued, running and lately finished ones, oldest first.
    const std::map<JobId, std::unique_ptr<JobObject>>& objects() const { return objects_; }
    bool contains(JobId id) const { return objects_.contains(id); }

private:
    struct Running {
        std::unique_ptr<WorkerProcess> process;  // null while the host's conditions are asked for
        std::unique_ptr<CheckRound> round;       // in its place
        EventLoop::Timer limit;
        EventLoop::Timer note;  // the next line in the journal that says how far it is
        bool out_of_time = false;
    };
    struct Phase {
        std::string name;
        EventLoop::Clock::time_point began;
    };
    struct Finished {
        EventLoop::Timer timer;
        uid_t owner;
        std::size_t bytes;  // of its outcome
    };

    void job_added(const QueuedJob& job) override;
    void job_moved(const QueuedJob& job, std::uint32_t position) override {
        objects_.at(job.id)->moved(job.state, position);
    }
    void job_left(const QueuedJob& job, const std::vector<std::string>& connections) override {
        objects_.at(job.id)->left(connections);
    }
    void job_finished(const QueuedJob& job, const job::Result& result) override;
    void start_job(const QueuedJob& job, JobFiles files) override;
    void stop_job(JobId id) override;
    void start_work(const QueuedJob& job, JobFiles files);
    void defer(JobId id, const std::string& reason);
    void tell_whether_it_changes();
    void start_round(const QueuedJob& job, job::Request request);

    void worker_said(JobId id, const job::Message& message);
    void worker_ended(JobId id, const job::Result& result);
    void tell_changes(const job::Result& result);
    void limit_time(JobId id);
    void note_later(JobId id);
    void tell_status();
    void enter_phase(JobId id, const job::Request& request, const std::string& name);
    void forget(JobId id);
    // Keeps the finished jobs within their limits: the oldest job of the user who has most of them is forgotten first.
    void forget_surplus();
    bool forget_one();

    sdbus::IConnection& connection_;
    EventLoop& loop_;
    WorkerSettings settings_;
    const Events events_;
    JobMetrics metrics_;
    JobQueue queue_;
    std::map<JobId, std::unique_ptr<JobObject>> objects_;
    std::map<JobId, Finished> finished_;
    std::map<JobId, Running> running_;
    std::map<JobId, Phase> phases_;  // of jobs that have not ended
};

}  // namespace imaged
