// SPDX-License-Identifier: Apache-2.0
// Decides which jobs run and which wait. Pure logic: no bus, no process, no clock. One thread.
//
// Jobs run in lanes, so that one kind of work does not wait for another:
//   - changing: jobs that write to the repository, one at a time;
//   - reading: Prepare, Check, CheckImages, Changes and DiskUsage of callers who were authorised, one at a time;
//   - open: Prepare, Changes and DiskUsage of callers who were not, two at a time and one of each user.
// In a lane root's jobs run first. All other users take turns, and the jobs of one user run in the order they came. A
// job that several users share comes when the first of them has its turn, and counts among the waiting jobs of each of
// them; it is nothing to a user who has given up its share. Each standing has limits of its own, so no caller can take
// the room of one with a higher standing.
//
// An open job that holds the repository's lock (DiskUsage) starts while no job runs that needs the lock for itself
// (Remove, Prune), and ends with the error Deferred when such a job starts, so counting never delays it.
//
// Background jobs come after all others of their lane, and one that runs gives way: it ends, with the error Deferred,
// when another job waits for its slot. A request of the one sort joins no job of the other.
//
// A request that equals a waiting or running one joins it, with these exceptions:
//   - a job with an authfile is never shared: credentials are not compared, they may open images that other users must
//     not see, and wrong ones must not fail an honest request;
//   - a job that only looks is joined by requests of its user only, since what it learns is for that user;
//   - a job that may use the host's credentials is not joined by a request that may not, nor the other way round.
//
// Every caller that asked for a job holds a share in it, and a job ends early only when no share is left:
//   - a connection that cancels gives up its own share;
//   - a connection without a share (another terminal of the same user) gives up all shares of its user;
//   - root's connection without a share, like any authorised cancel, takes all shares away;
//   - a connection that leaves the bus gives up its share if it asked for bind-to-caller; otherwise the share stays, as
//     its user's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/file-descriptor.hpp"
#include "job/job.hpp"
#include "job/kinds.hpp"
#include "jobs/authority.hpp"
#include "jobs/job-numbers.hpp"

namespace imaged {

enum class JobId : std::uint32_t {};
inline std::uint32_t number(JobId id) {
    return static_cast<std::uint32_t>(id);
}

// The authorisation of a caller when it asked for the job; a higher standing is served first.
enum class Standing {
    owner,       // root, or the owner of a user's own bus
    authorised,  // the authority allowed the job
    open,        // needs no authorisation
};

struct Share {
    std::string bus_name;  // empty once its connection has left
    uid_t uid = 0;
    bool bound = false;
    Standing standing = Standing::authorised;
};

// The registry credentials that a job uses.
enum class Credentials { host, caller, none };

enum class Lane { changing, reading, open };
inline constexpr Lane all_lanes[] = {Lane::changing, Lane::reading, Lane::open};

// Returns the result of a job that was cancelled before it started.
job::Result cancelled_before_start();

// Files that came with a request, as sockets to their keepers (base/kept-file.hpp); the worker gets them. Empty where
// there is none.
struct JobFiles {
    FileDescriptor auth;   // registry credentials
    FileDescriptor input;  // what the job reads: it is the caller's, so no request joins such a job
};

// A job that has not finished.
struct QueuedJob {
    JobId id{};
    job::Request request;
    uid_t owner = 0;  // who asked first
    job::State state = job::State::queued;
    JobFiles files;  // until the job starts
    bool has_input = false;
    Credentials credentials = Credentials::host;
    Standing standing = Standing::authorised;  // the highest of its shares
    std::uint32_t position = 0;                // jobs of its lane that run, or that start before it
    std::vector<Share> shares;
    // The result of a job that the queue itself ended early, unless its work succeeds.
    std::optional<job::Result> early_end;

    bool only_reads() const { return request.traits().only_reads; }
    // Whether its results are for its caller's user and root only: credentials, of the caller or the host, opened it.
    bool is_private() const { return credentials == Credentials::caller || only_reads(); }
    Lane lane() const;
    // Whether the user holds a share of it.
    bool wanted_by(uid_t uid) const;
    bool waits() const { return state == job::State::queued; }
    // Whether it holds the repository's lock, and needed no authorisation.
    bool is_open_reader() const;
};

// Receives the events of the queue. Calls come from inside the queue's own functions; an implementation must not call
// back into it, but may do so later.
class JobQueueObserver {
public:
    virtual ~JobQueueObserver() = default;
    virtual void job_added(const QueuedJob& job) = 0;
    // State or place in the queue changed.
    virtual void job_moved(const QueuedJob& job, std::uint32_t position) = 0;
    // Another connection of their user gave up the shares of CONNECTIONS; the job goes on for others.
    virtual void job_left(const QueuedJob& job, const std::vector<std::string>& connections) = 0;
    virtual void job_finished(const QueuedJob& job, const job::Result& result) = 0;
    // Start the work; call JobQueue::finished when it has ended, later.
    virtual void start_job(const QueuedJob& job, JobFiles files) = 0;
    // End the work early; still call JobQueue::finished when it has ended.
    virtual void stop_job(JobId id) = 0;
};

class JobQueue {
public:
    struct Limits {
        std::size_t queued = 256;          // waiting jobs of all callers with one standing
        std::size_t queued_per_user = 32;  // waiting jobs that one uid started with one standing
    };
    // The most that open jobs get of these.
    static constexpr std::size_t open_queued = 64, open_queued_per_user = 8;
    // Jobs that run at once.
    static constexpr std::size_t open_slots = 2;

    // OBSERVER outlives the queue. NUMBERS_FILE: see JobNumbers.
    explicit JobQueue(JobQueueObserver& observer, const std::string& numbers_file = {})
        : observer_(observer), numbers_(numbers_file) {}
    // Sets the limits for later jobs.
    void set_limits(const Limits& limits) { limits_ = limits; }

    // Throws Error(queue_full) where submit() would now, so that nobody is asked for a password in vain.
    void require_room(const Caller& caller, const job::Request& request, const JobFiles& files,
                      Standing standing = Standing::authorised);
    // The new job's number, or that of the job that was joined. Throws Error(queue_full).
    JobId submit(const Caller& caller, job::Request request, JobFiles files, bool bound,
                 Standing standing = Standing::authorised);

    // Whether CALLER cancels by giving up a share, which needs no authorisation: its own, or its user's unless that is
    // root.
    bool has_share(JobId id, const Caller& caller) const;
    // Gives up CALLER's share, or its user's. Returns whether the job goes on for others. Has no effect if there is no
    // such job.
    bool give_up(JobId id, const Caller& caller);
    // Cancels for everyone.
    void cancel(JobId id);
    // imaged is being stopped: ends all jobs, with the error Stopped, as no caller gave them up.
    void stop_all();
    void caller_left(const std::string& bus_name);

    // A running job ended. A result of an unknown job is ignored.
    void finished(JobId id, const job::Result& result) {
        if (find(id) != nullptr) remove(id, result);
    }

    // The job with ID while it has not finished, else null.
    const QueuedJob* job(JobId id) const { return find(id); }
    bool empty() const { return jobs_.empty(); }
    const std::deque<QueuedJob>& jobs() const { return jobs_; }

private:
    QueuedJob* find(JobId id);
    const QueuedJob* find(JobId id) const { return const_cast<JobQueue*>(this)->find(id); }
    QueuedJob* joinable(const job::Request& request, uid_t uid, const JobFiles& files, Standing standing);
    void check_limits(uid_t uid, Standing standing) const;
    void stop(QueuedJob& job);
    void remove(JobId id, const job::Result& result);
    // Starts what may run now, and announces new places in the queue.
    void advance();
    // Has open jobs end for the sake of one that needs the repository's lock for itself.
    void clear_lock();
    // Has a background job end for the sake of another one, if that is what the other one waits for.
    void make_way(Lane lane);
    // Whether JOB could start now. Does not count the running job WITHOUT, if that is not null.
    bool has_slot(const QueuedJob& job, const QueuedJob* without = nullptr) const;
    void start(QueuedJob& job);
    void renumber(Lane lane);

    // When each user's last job started, in turns.
    using Turns = std::map<uid_t, std::uint64_t>;
    // Forgets the turns of users without a job in LANE.
    void forget_turns(Lane lane);
    // Shares of JOB were given up.
    void shares_changed(QueuedJob& job);

    JobQueueObserver& observer_;
    Limits limits_;
    std::deque<QueuedJob> jobs_;  // in the order they came
    std::map<Lane, Turns> turns_;
    std::uint64_t last_turn_ = 0;
    JobNumbers numbers_;
};

}  // namespace imaged
