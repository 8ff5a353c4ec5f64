// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>

#include <map>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "catch.hpp"
#include "jobs/job-queue.hpp"

namespace {

using namespace imaged;
using Numbers = std::vector<std::uint32_t>;

struct Runner : JobQueueObserver {
    Numbers started, stopped;
    std::map<std::uint32_t, std::uint32_t> positions;

    void job_added(const QueuedJob&) override {}
    void job_moved(const QueuedJob& job, std::uint32_t position) override { positions[number(job.id)] = position; }
    void job_left(const QueuedJob&, const std::vector<std::string>&) override {}
    void job_finished(const QueuedJob&, const job::Result&) override {}
    void start_job(const QueuedJob& job, JobFiles) override { started.push_back(number(job.id)); }
    void stop_job(JobId id) override { stopped.push_back(number(id)); }
};

using Kind = job::Work (*)(const std::string& image);

template <typename Work>
job::Work of(const std::string& image) {
    Work work;
    work.image = ImageReference::parse("oci:" + image);
    return work;
}

struct Lanes {
    Runner runner;
    JobQueue queue{runner};
    int names = 0;

    JobId submit(uid_t uid, Kind kind, Standing standing, JobFiles files = {}, const std::string& image = {}) {
        job::Request request;
        request.work = kind(image.empty() ? std::to_string(++names) : image);
        return queue.submit({":1." + std::to_string(uid), uid}, request, std::move(files), false, standing);
    }
    JobId prepare(uid_t uid) { return submit(uid, of<job::Prepare>, Standing::open); }
    JobId pull(uid_t uid) { return submit(uid, of<job::Pull>, uid == 0 ? Standing::owner : Standing::authorised); }
    void end(std::uint32_t id) { queue.finished(JobId{id}, {}); }
};

JobFiles credentials() {
    return {FileDescriptor(::open("/dev/null", O_RDONLY)), {}};
}

bool is_full(Lanes& lanes, uid_t uid, Kind kind, Standing standing) {
    try {
        lanes.submit(uid, kind, standing);
        return false;
    } catch (const Error& error) {
        return error.kind() == ErrorKind::queue_full;
    }
}

}  // namespace

TEST_CASE_METHOD(Lanes, "a pull does not wait for what changes nothing") {
    for (uid_t uid = 1000; uid < 1008; ++uid)
        for (int count = 0; count < 4; ++count) prepare(uid);
    CHECK(runner.started == Numbers{1, 5});
    pull(0);
    CHECK(runner.started == Numbers{1, 5, 33});
    submit(0, of<job::Prepare>, Standing::owner);
    CHECK(runner.started == Numbers{1, 5, 33, 34});
}

TEST_CASE_METHOD(Lanes, "one user has one open job at work, whatever the others do") {
    prepare(1000);
    prepare(1000);
    CHECK(runner.started == Numbers{1});
    prepare(1001);
    CHECK(runner.started == Numbers{1, 3});
    end(1);
    CHECK(runner.started == Numbers{1, 3, 2});
}

TEST_CASE_METHOD(Lanes, "counts that anybody starts leave the repository's lock to jobs that need it alone") {
    const auto remove = [](const std::string&) { return job::Work{job::Remove{}}; };
    const auto count = [](const std::string&) { return job::Work{job::DiskUsage{}}; };
    submit(1000, count, Standing::open);
    submit(0, count, Standing::owner);
    prepare(1001);
    CHECK(runner.started == Numbers{1, 2, 3});
    pull(0);
    submit(0, remove, Standing::owner);
    CHECK(runner.stopped.empty());
    end(4);
    CHECK(runner.started == Numbers{1, 2, 3, 4, 5});
    CHECK(runner.stopped == Numbers{1});
    CHECK(queue.job(JobId{1})->early_end->error_name == error_name(ErrorKind::deferred));
    end(1);
    submit(1000, count, Standing::open);
    submit(1002, of<job::Prepare>, Standing::open);
    CHECK(runner.started == Numbers{1, 2, 3, 4, 5, 7});
    end(5);
    end(3);
    CHECK(runner.started == Numbers{1, 2, 3, 4, 5, 7, 6});
}

TEST_CASE_METHOD(Lanes, "users take turns and root comes first") {
    for (int count = 0; count < 3; ++count) pull(1000);  // 1, 2, 3
    for (int count = 0; count < 2; ++count) pull(1001);  // 4, 5
    pull(0);                                             // 6
    CHECK(runner.positions == std::map<std::uint32_t, std::uint32_t>{{1, 0}, {6, 1}, {4, 2}, {2, 3}, {5, 4}, {3, 5}});
    for (const std::uint32_t id : {1, 6, 4, 2, 5}) end(id);
    CHECK(runner.started == Numbers{1, 6, 4, 2, 5, 3});
    end(3);
    CHECK(queue.empty());
}

TEST_CASE_METHOD(Lanes, "a user that asks again and again does not go before one that waits") {
    pull(1000);
    pull(1001);
    pull(1000);
    pull(1001);
    Numbers owners;
    for (std::size_t turn = 0; turn < 6; ++turn) {
        const auto id = runner.started.back();
        owners.push_back(queue.job(JobId{id})->owner);
        if (owners.back() == 1000) pull(1000);
        end(id);
    }
    CHECK(owners == Numbers{1000, 1001, 1000, 1001, 1000, 1000});
}

TEST_CASE_METHOD(Lanes, "no standing takes the room of a higher one") {
    uid_t uid = 1000;
    for (; !is_full(*this, uid, of<job::Prepare>, Standing::open); ++uid) {
        while (!is_full(*this, uid, of<job::Prepare>, Standing::open)) {
        }
        REQUIRE(uid < 2000);
    }
    CHECK(queue.jobs().size() <= JobQueue::open_queued + JobQueue::open_slots);
    for (uid = 1000; !is_full(*this, uid, of<job::Pull>, Standing::authorised); ++uid) {
        while (!is_full(*this, uid, of<job::Pull>, Standing::authorised)) {
        }
        REQUIRE(uid < 2000);
    }
    CHECK_FALSE(is_full(*this, 0, of<job::Pull>, Standing::owner));
    CHECK_FALSE(is_full(*this, 0, of<job::Prepare>, Standing::owner));
}

TEST_CASE_METHOD(Lanes, "a job that the host's credentials serve is not joined by those who were not allowed them") {
    const auto root = submit(0, of<job::Prepare>, Standing::owner, {}, "a");
    const auto open = submit(1000, of<job::Prepare>, Standing::open, {}, "a");
    CHECK(root != open);
    CHECK(submit(1000, of<job::Prepare>, Standing::open, {}, "a") == open);
    CHECK(queue.job(root)->credentials == Credentials::host);
    CHECK(queue.job(open)->credentials == Credentials::none);
}

TEST_CASE_METHOD(Lanes, "a job with an authfile is joined by nobody and joins nothing") {
    for (const Kind kind : {of<job::Prepare>, of<job::Pull>, of<job::Check>}) {
        const auto standing = kind == of<job::Prepare> ? Standing::open : Standing::authorised;
        for (const uid_t uid : {1000, 0}) {
            const auto image = std::to_string(uid);
            const auto plain = submit(uid, kind, standing, {}, image);
            const auto own = submit(uid, kind, standing, credentials(), image);
            CHECK(own != plain);
            CHECK(queue.job(own)->is_private());
            CHECK(submit(uid, kind, standing, credentials(), image) != own);
            CHECK(submit(uid, kind, standing, {}, image) == plain);
        }
    }
}

TEST_CASE_METHOD(Lanes, "what only looks is private and joined by its user alone") {
    for (const Kind kind : {of<job::Prepare>, of<job::Check>}) {
        const auto job = submit(1000, kind, Standing::authorised, {}, "a");
        CHECK(queue.job(job)->is_private());
        CHECK(submit(1000, kind, Standing::authorised, {}, "a") == job);
        CHECK(submit(1001, kind, Standing::authorised, {}, "a") != job);
    }
    const auto pull = submit(1000, of<job::Pull>, Standing::authorised, {}, "a");
    CHECK_FALSE(queue.job(pull)->is_private());
    CHECK(submit(1001, of<job::Pull>, Standing::authorised, {}, "a") == pull);
}

TEST_CASE_METHOD(Lanes, "a job that root joins is root's") {
    pull(1000);
    submit(1001, of<job::Pull>, Standing::authorised, {}, "b");
    const auto later = submit(1000, of<job::Pull>, Standing::authorised, {}, "a");
    CHECK(submit(0, of<job::Pull>, Standing::owner, {}, "a") == later);
    end(1);
    CHECK(runner.started == Numbers{1, number(later)});
}

TEST_CASE_METHOD(Lanes, "cancelling everything in all lanes starts nothing") {
    for (int count = 0; count < 2; ++count) {
        pull(1000);
        prepare(1000);
        prepare(1001);
    }
    const auto before = runner.started;
    queue.stop_all();
    CHECK(runner.started == before);
    CHECK(runner.stopped == before);
}

TEST_CASE_METHOD(Lanes, "a job that is shared comes when the first of its users has its turn") {
    const auto join = [&](uid_t uid, const std::string& image) {
        return number(submit(uid, of<job::Pull>, Standing::authorised, {}, image));
    };
    for (const auto* image : {"a", "b", "c", "d", "e"}) join(1000, image);  // 1 runs
    pull(1001);                                                             // 6
    CHECK(join(1002, "e") == 5);
    end(1);
    end(runner.started.back());
    end(runner.started.back());
    // 1000 had its turn; 1002's comes before 1000's second job.
    CHECK(runner.started == Numbers{1, 5, 6, 2});
}

TEST_CASE_METHOD(Lanes, "a shared job counts for each user who asked for it, and passes to the next when one leaves") {
    queue.set_limits({256, 3});
    submit(1009, of<job::Pull>, Standing::authorised);  // runs
    const auto join = [&](uid_t uid, const std::string& image) {
        return submit(uid, of<job::Pull>, Standing::authorised, {}, image);
    };
    JobId ids[] = {join(1000, "a"), join(1000, "b"), join(1000, "c")};
    CHECK(is_full(*this, 1000, of<job::Pull>, Standing::authorised));
    for (const auto* image : {"a", "b"}) join(1001, image);
    for (const auto id : ids) queue.give_up(id, {":1.1000", 1000});
    // Two are 1001's now, and none is 1000's.
    CHECK(queue.jobs().size() == 3);
    for (int count = 0; count < 3; ++count) CHECK_FALSE(is_full(*this, 1000, of<job::Pull>, Standing::authorised));
    CHECK(is_full(*this, 1000, of<job::Pull>, Standing::authorised));
    CHECK_FALSE(is_full(*this, 1001, of<job::Pull>, Standing::authorised));
    CHECK(is_full(*this, 1001, of<job::Pull>, Standing::authorised));
}

TEST_CASE_METHOD(Lanes, "root's standing leaves a waiting job with root") {
    pull(1000);
    pull(1000);
    const auto shared = submit(1001, of<job::Pull>, Standing::authorised, {}, "a");
    CHECK(submit(0, of<job::Pull>, Standing::owner, {}, "a") == shared);
    CHECK(queue.job(shared)->standing == Standing::owner);
    queue.give_up(shared, {":1.0", 0});
    CHECK(queue.job(shared)->standing == Standing::authorised);
}
