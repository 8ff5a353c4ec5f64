// SPDX-License-Identifier: Apache-2.0
#include "jobs/job-queue.hpp"

#include <algorithm>
#include <tuple>
#include <utility>

#include "base/error.hpp"

namespace imaged {

namespace {

// Whatever the worker reports: its skopeo was stopped, too.
job::Result stopped_result() {
    return job::failed(Error(ErrorKind::stopped, "imaged was stopped before the job ended"));
}

job::Result deferred_result(const std::string& reason) {
    return job::failed(Error(ErrorKind::deferred, "postponed: " + reason));
}

Credentials credentials_of(const JobFiles& files, Standing standing) {
    if (files.auth) return Credentials::caller;
    return standing == Standing::open ? Credentials::none : Credentials::host;
}

// Whether the job waits until no other one holds the repository's lock.
bool needs_lock_alone(const job::Request& request) {
    return request.as<job::Remove>() != nullptr || request.as<job::Prune>() != nullptr;
}

// The user of those who share JOB whose turn comes first, and the turn in which its last job started: TURNS has them.
struct Claim {
    uid_t uid;
    std::uint64_t turn;
};
template <typename Turns>
Claim first_claim(const QueuedJob& job, const Turns& turns) {
    std::optional<Claim> first;
    for (const auto& share : job.shares) {
        const auto found = turns.find(share.uid);
        const auto turn = found == turns.end() ? 0 : found->second;
        if (!first || turn < first->turn) first = {share.uid, turn};
    }
    return first.value_or(Claim{job.owner, 0});
}

// Who starts first: a lower key does.
template <typename Turns>
std::tuple<unsigned, std::uint64_t, std::uint32_t> order_key(const QueuedJob& job, const Turns& turns) {
    const unsigned rank = (job.request.background ? 2U : 0U) + (job.standing != Standing::owner ? 1U : 0U);
    return {rank, first_claim(job, turns).turn, number(job.id)};
}

}  // namespace

job::Result cancelled_before_start() {
    return job::failed(Error(ErrorKind::cancelled, "the job was cancelled before it started"));
}

Lane QueuedJob::lane() const {
    if (standing == Standing::open) return Lane::open;
    return only_reads() ? Lane::reading : Lane::changing;
}

bool QueuedJob::is_open_reader() const {
    return standing == Standing::open && request.traits().publishing != job::Publishing::none;
}

bool QueuedJob::wanted_by(uid_t uid) const {
    return std::any_of(shares.begin(), shares.end(), [uid](const Share& share) { return share.uid == uid; });
}

void JobQueue::require_room(const Caller& caller, const job::Request& request, const JobFiles& files,
                            Standing standing) {
    if (joinable(request, caller.uid, files, standing) == nullptr) check_limits(caller.uid, standing);
}

JobId JobQueue::submit(const Caller& caller, job::Request request, JobFiles files, bool bound, Standing standing) {
    if (auto* job = joinable(request, caller.uid, files, standing)) {
        const auto own = std::find_if(job->shares.begin(), job->shares.end(),
                                      [&](const Share& share) { return share.bus_name == caller.bus_name; });
        if (own == job->shares.end()) {
            job->shares.push_back({caller.bus_name, caller.uid, bound, standing});
        } else {
            own->bound = own->bound && bound;  // one request without bind-to-caller is enough to stay
            own->standing = std::min(own->standing, standing);
        }
        job->standing = std::min(job->standing, standing);
        renumber(job->lane());
        return job->id;
    }
    check_limits(caller.uid, standing);
    QueuedJob job;
    job.id = JobId{numbers_.next()};
    job.request = std::move(request);
    job.owner = caller.uid;
    job.standing = standing;
    job.credentials = credentials_of(files, standing);
    job.has_input = static_cast<bool>(files.input);
    job.files = std::move(files);
    job.shares.push_back({caller.bus_name, caller.uid, bound, standing});
    const auto id = job.id;
    jobs_.push_back(std::move(job));
    observer_.job_added(jobs_.back());
    advance();
    return id;
}

QueuedJob* JobQueue::joinable(const job::Request& request, uid_t uid, const JobFiles& files, Standing standing) {
    if (files.input || files.auth) return nullptr;
    const auto credentials = credentials_of(files, standing);
    for (auto& job : jobs_) {
        if (job.state == job::State::cancelling || job.has_input || !(job.request == request)) continue;
        if (job.credentials != credentials || (job.is_private() && job.owner != uid)) continue;
        // The limit of time of an open job is not for those who were authorised.
        if ((job.standing == Standing::open) != (standing == Standing::open)) continue;
        return &job;
    }
    return nullptr;
}

void JobQueue::check_limits(uid_t uid, Standing standing) const {
    const bool open = standing == Standing::open;
    const auto most = open ? std::min(limits_.queued, open_queued) : limits_.queued;
    const auto most_of_user = open ? std::min(limits_.queued_per_user, open_queued_per_user) : limits_.queued_per_user;
    std::size_t waiting = 0, of_user = 0;
    for (const auto& job : jobs_) {
        if (!job.waits() || job.standing != standing) continue;
        ++waiting;
        if (job.wanted_by(uid)) ++of_user;
    }
    if (waiting >= most)
        throw Error(ErrorKind::queue_full, "the queue is full: " + std::to_string(most) + " jobs wait");
    if (of_user >= most_of_user) {
        throw Error(ErrorKind::queue_full, "the queue is full: " + std::to_string(most_of_user) + " jobs of user " +
                                               std::to_string(uid) + " wait");
    }
}

bool JobQueue::has_share(JobId id, const Caller& caller) const {
    const auto* job = find(id);
    return job != nullptr && std::any_of(job->shares.begin(), job->shares.end(), [&](const Share& share) {
               return share.bus_name == caller.bus_name || (share.uid == caller.uid && caller.uid != 0);
           });
}

bool JobQueue::give_up(JobId id, const Caller& caller) {
    auto* job = find(id);
    if (job == nullptr) return false;
    const auto own = std::erase_if(job->shares, [&](const Share& share) { return share.bus_name == caller.bus_name; });
    std::vector<std::string> left;
    if (own == 0)
        std::erase_if(job->shares, [&](const Share& share) {
            if (share.uid != caller.uid) return false;
            if (!share.bus_name.empty()) left.push_back(share.bus_name);
            return true;
        });
    const bool goes_on = !job->shares.empty();
    if (goes_on && !left.empty()) observer_.job_left(*job, left);
    shares_changed(*job);
    return goes_on;
}

void JobQueue::shares_changed(QueuedJob& job) {
    if (job.shares.empty()) return stop(job);
    if (!job.waits()) return;
    job.standing = std::min_element(job.shares.begin(), job.shares.end(), [](const Share& one, const Share& other) {
                       return one.standing < other.standing;
                   })->standing;
    renumber(job.lane());
}

void JobQueue::cancel(JobId id) {
    if (auto* job = find(id)) {
        job->shares.clear();
        stop(*job);
    }
}

void JobQueue::stop_all() {
    std::vector<JobId> ids;
    for (auto& job : jobs_)
        if (job.state != job::State::cancelling) job.early_end = stopped_result();
    // Those that wait first: none of them may start on the way.
    for (const auto& job : jobs_)
        if (job.waits()) ids.push_back(job.id);
    for (const auto& job : jobs_)
        if (!job.waits()) ids.push_back(job.id);
    for (const auto id : ids) cancel(id);
}

void JobQueue::caller_left(const std::string& bus_name) {
    std::vector<JobId> changed;
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
        if (!left.bound && !kept) job.shares.push_back({{}, left.uid, false, left.standing});
        changed.push_back(job.id);
    }
    for (const auto id : changed) {
        if (auto* job = find(id)) shares_changed(*job);
    }
}

QueuedJob* JobQueue::find(JobId id) {
    const auto found = std::find_if(jobs_.begin(), jobs_.end(), [id](const QueuedJob& job) { return job.id == id; });
    return found == jobs_.end() ? nullptr : &*found;
}

void JobQueue::stop(QueuedJob& job) {
    if (job.state == job::State::queued) {
        remove(job.id, cancelled_before_start());
    } else if (job.state == job::State::running) {
        job.state = job::State::cancelling;
        observer_.job_moved(job, 0);
        observer_.stop_job(job.id);
    }
}

void JobQueue::remove(JobId id, const job::Result& result) {
    const auto found = std::find_if(jobs_.begin(), jobs_.end(), [id](const QueuedJob& job) { return job.id == id; });
    auto job = std::move(*found);
    jobs_.erase(found);
    const auto lane = job.lane();
    forget_turns(lane);
    job.state = job::State::finished;
    job.position = 0;
    const bool ended_early = job.early_end && result.outcome != job::Outcome::success;
    observer_.job_finished(job, ended_early ? *job.early_end : result);
    advance();
}

void JobQueue::forget_turns(Lane lane) {
    std::erase_if(turns_[lane], [&](const auto& turn) {
        return std::none_of(jobs_.begin(), jobs_.end(), [&](const QueuedJob& job) {
            return job.lane() == lane && (job.owner == turn.first || job.wanted_by(turn.first));
        });
    });
}

bool JobQueue::has_slot(const QueuedJob& job, const QueuedJob* without) const {
    const auto lane = job.lane();
    std::size_t running = 0;
    for (const auto& other : jobs_) {
        if (other.waits() || &other == without) continue;
        if (job.is_open_reader() && needs_lock_alone(other.request)) return false;
        if (other.lane() != lane) continue;
        // One slot of the open lane stays for other users.
        if (lane == Lane::open && other.owner == job.owner) return false;
        ++running;
    }
    return running < (lane == Lane::open ? open_slots : 1);
}

void JobQueue::advance() {
    for (const auto lane : all_lanes) {
        for (;;) {
            QueuedJob* next = nullptr;
            for (auto& job : jobs_) {
                if (!job.waits() || job.lane() != lane || !has_slot(job)) continue;
                if (next == nullptr || order_key(job, turns_[lane]) < order_key(*next, turns_[lane])) next = &job;
            }
            if (next == nullptr) break;
            start(*next);
        }
        make_way(lane);
        renumber(lane);
    }
}

void JobQueue::make_way(Lane lane) {
    const auto runs_behind = [&](const QueuedJob& job) {
        return !job.waits() && job.lane() == lane && job.request.background;
    };
    const auto found = std::find_if(jobs_.begin(), jobs_.end(), runs_behind);
    // One that is being ended frees its slot soon.
    if (found == jobs_.end() || found->state == job::State::cancelling) return;
    if (std::none_of(jobs_.begin(), jobs_.end(), [&](const QueuedJob& job) {
            return job.waits() && job.lane() == lane && !job.request.background && has_slot(job, &*found);
        }))
        return;
    found->early_end = deferred_result("a job that is not a background job came");
    stop(*found);
}

void JobQueue::clear_lock() {
    for (auto& job : jobs_) {
        if (job.state != job::State::running || !job.is_open_reader()) continue;
        job.early_end = deferred_result("a job came that needs the repository for itself");
        stop(job);
    }
}

void JobQueue::start(QueuedJob& job) {
    auto& turns = turns_[job.lane()];
    turns[first_claim(job, turns).uid] = ++last_turn_;
    job.state = job::State::running;
    job.position = 0;
    if (needs_lock_alone(job.request)) clear_lock();
    observer_.job_moved(job, 0);
    observer_.start_job(job, std::move(job.files));
}

void JobQueue::renumber(Lane lane) {
    std::uint32_t position = 0;
    // Each user's first waiting job comes before any user's second; within such a round, users are in their turn.
    using Key = std::tuple<unsigned, std::size_t, std::uint64_t, std::uint32_t>;
    std::map<Key, QueuedJob*> waiting;
    std::map<std::pair<unsigned, uid_t>, std::pair<std::size_t, std::uint32_t>> rounds;  // jobs so far, the first one
    for (auto& job : jobs_) {
        if (job.lane() != lane) continue;
        if (!job.waits()) {
            ++position;
            continue;
        }
        const auto [rank, turn, id] = order_key(job, turns_[lane]);
        const auto user = first_claim(job, turns_[lane]).uid;
        auto& [round, first] = rounds.try_emplace({rank, user}, 0U, id).first->second;
        waiting.emplace(Key{rank, round++, turn, first}, &job);
    }
    for (const auto& [key, job] : waiting) {
        if (std::exchange(job->position, position) != position) observer_.job_moved(*job, position);
        ++position;
    }
}

}  // namespace imaged
