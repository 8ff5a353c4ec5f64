// SPDX-License-Identifier: Apache-2.0
#include "job-queue.hpp"

#include <algorithm>
#include <utility>

#include "base/error.hpp"

namespace imaged {

namespace {

job::Result cancelled_result() {
    job::Result result;
    result.outcome = job::Outcome::cancelled;
    result.error_name = error_name(ErrorKind::cancelled);
    result.message = "the job was cancelled before it started";
    return result;
}

}  // namespace

void JobQueue::require_room(const Caller& caller, const job::Request& request, const JobFiles& files) {
    if (joinable(request, caller.uid, files) == nullptr) check_limits(caller.uid);
}

JobId JobQueue::submit(const Caller& caller, job::Request request, JobFiles files, bool bound) {
    if (auto* job = joinable(request, caller.uid, files)) {
        const auto own = std::find_if(job->shares.begin(), job->shares.end(),
                                      [&](const Share& share) { return share.bus_name == caller.bus_name; });
        if (own == job->shares.end()) {
            job->shares.push_back({caller.bus_name, caller.uid, bound});
        } else {
            own->bound = own->bound && bound;  // one request without bind-to-caller is enough to stay
        }
        return job->id;
    }
    check_limits(caller.uid);
    QueuedJob job;
    job.id = JobId{++last_id_};
    job.request = std::move(request);
    job.owner = caller.uid;
    job.has_auth_file = static_cast<bool>(files.auth);
    job.has_input = static_cast<bool>(files.input);
    job.files = std::move(files);
    job.shares.push_back({caller.bus_name, caller.uid, bound});
    const auto id = job.id;
    jobs_.push_back(std::move(job));
    observer_.job_added(jobs_.back());
    if (jobs_.size() == 1) {
        start_next();
    } else {
        observer_.job_moved(jobs_.back(), static_cast<std::uint32_t>(jobs_.size() - 1));
    }
    return id;
}

QueuedJob* JobQueue::joinable(const job::Request& request, uid_t uid, const JobFiles& files) {
    if (files.input) return nullptr;
    const bool has_auth_file = static_cast<bool>(files.auth);
    for (auto& job : jobs_) {
        if (job.state == job::State::cancelling || job.has_input || !(job.request == request)) continue;
        if (job.has_auth_file != has_auth_file || (has_auth_file && job.owner != uid)) continue;
        return &job;
    }
    return nullptr;
}

void JobQueue::check_limits(uid_t uid) const {
    const auto is_waiting = [](const QueuedJob& job) { return job.state == job::State::queued; };
    const auto waiting = std::count_if(jobs_.begin(), jobs_.end(), is_waiting);
    const auto of_user = std::count_if(jobs_.begin(), jobs_.end(),
                                       [&](const QueuedJob& job) { return is_waiting(job) && job.owner == uid; });
    if (static_cast<std::size_t>(waiting) >= limits_.queued) {
        throw Error(ErrorKind::queue_full, "the queue is full: " + std::to_string(limits_.queued) + " jobs wait");
    }
    if (static_cast<std::size_t>(of_user) >= limits_.queued_per_user) {
        throw Error(ErrorKind::queue_full, "the queue is full: " + std::to_string(limits_.queued_per_user) +
                                               " jobs of user " + std::to_string(uid) + " wait");
    }
}

bool JobQueue::has_share(JobId id, const Caller& caller) const {
    const auto* job = find(id);
    return job != nullptr && std::any_of(job->shares.begin(), job->shares.end(), [&](const Share& share) {
               return share.bus_name == caller.bus_name || (share.uid == caller.uid && caller.uid != 0);
           });
}

void JobQueue::give_up(JobId id, const Caller& caller) {
    auto* job = find(id);
    if (job == nullptr) return;
    const auto own = std::erase_if(job->shares, [&](const Share& share) { return share.bus_name == caller.bus_name; });
    if (own == 0) std::erase_if(job->shares, [&](const Share& share) { return share.uid == caller.uid; });
    if (job->shares.empty()) stop(*job);
}

void JobQueue::cancel(JobId id) {
    if (auto* job = find(id)) {
        job->shares.clear();
        stop(*job);
    }
}

void JobQueue::cancel_all() {
    std::vector<JobId> ids;
    // The running one last: no other may start on the way.
    for (auto job = jobs_.rbegin(); job != jobs_.rend(); ++job) ids.push_back(job->id);
    for (const auto id : ids) cancel(id);
}

void JobQueue::caller_left(const std::string& bus_name) {
    std::vector<JobId> abandoned;
    for (auto& job : jobs_) {
        const auto own = std::find_if(job.shares.begin(), job.shares.end(),
                                      [&](const Share& share) { return share.bus_name == bus_name; });
        if (own == job.shares.end()) continue;
        const auto left = *own;
        job.shares.erase(own);
        const bool kept = std::any_of(job.shares.begin(), job.shares.end(), [&](const Share& share) {
            return share.bus_name.empty() && share.uid == left.uid;
        });
        // One share for all of a user's gone connections: callers that come and go must not add up.
        if (!left.bound && !kept) job.shares.push_back({{}, left.uid, false});
        if (job.shares.empty()) abandoned.push_back(job.id);
    }
    for (const auto id : abandoned) {
        if (auto* job = find(id)) stop(*job);
    }
}

void JobQueue::finished(JobId id, const job::Result& result) {
    if (find(id) != nullptr) remove(id, result);
}

QueuedJob* JobQueue::find(JobId id) {
    const auto found = std::find_if(jobs_.begin(), jobs_.end(), [id](const QueuedJob& job) { return job.id == id; });
    return found == jobs_.end() ? nullptr : &*found;
}

void JobQueue::stop(QueuedJob& job) {
    if (job.state == job::State::queued) {
        remove(job.id, cancelled_result());
    } else if (job.state == job::State::running) {
        job.state = job::State::cancelling;
        observer_.job_moved(job, 0);
        observer_.stop_job(job.id);
    }
}

void JobQueue::remove(JobId id, const job::Result& result) {
    const auto found = std::find_if(jobs_.begin(), jobs_.end(), [id](const QueuedJob& job) { return job.id == id; });
    const bool was_running = found->state != job::State::queued;
    auto job = std::move(*found);
    auto next = jobs_.erase(found);
    job.state = job::State::finished;
    observer_.job_finished(job, result);
    if (was_running) start_next();
    for (; next != jobs_.end(); ++next) {
        if (next->state == job::State::queued) {
            observer_.job_moved(*next, static_cast<std::uint32_t>(next - jobs_.begin()));
        }
    }
}

void JobQueue::start_next() {
    if (jobs_.empty() || jobs_.front().state != job::State::queued) return;
    auto& job = jobs_.front();
    job.state = job::State::running;
    observer_.job_moved(job, 0);
    observer_.start_job(job, std::move(job.files));
}

}  // namespace imaged
