// SPDX-License-Identifier: Apache-2.0
#include "jobs/job-queue.hpp"

#include <fcntl.h>

#include <map>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "catch.hpp"
#include "checksum-of.hpp"

namespace {

using namespace imaged;

struct FakeRunner : JobQueueObserver {
    std::vector<std::uint32_t> started, stopped;
    std::map<std::uint32_t, job::Result> finished;
    std::map<std::uint32_t, std::uint32_t> positions;
    bool had_auth_file = false;
    std::vector<std::string> left;

    void job_added(const QueuedJob&) override {}
    void job_moved(const QueuedJob& job, std::uint32_t position) override { positions[number(job.id)] = position; }
    void job_left(const QueuedJob&, const std::vector<std::string>& connections) override { left = connections; }
    void job_finished(const QueuedJob& job, const job::Result& result) override { finished[number(job.id)] = result; }
    void start_job(const QueuedJob& job, JobFiles files) override {
        started.push_back(number(job.id));
        had_auth_file = static_cast<bool>(files.auth);
    }
    void stop_job(JobId id) override { stopped.push_back(number(id)); }
};

template <typename Work = job::Pull>
job::Request request(const std::string& image) {
    job::Request request;
    Work work;
    work.image = ImageReference::parse("oci:" + image);
    request.work = work;
    request.repository = "/repo";
    return request;
}

job::Result success() {
    job::Result result;
    result.outcome = job::Outcome::success;
    return result;
}

struct Fixture {
    FakeRunner runner;
    JobQueue queue{runner};
    const Caller alice{":1.1", 1000}, alice_again{":1.2", 1000}, bob{":1.3", 1001}, root{":1.4", 0};

    JobId submit(const Caller& caller, const std::string& image, bool bound = false) {
        return queue.submit(caller, request(image), {}, bound);
    }
    bool was_cancelled(JobId id) {
        const auto found = runner.finished.find(number(id));
        return found != runner.finished.end() && found->second.outcome == job::Outcome::cancelled;
    }
};

}  // namespace

TEST_CASE_METHOD(Fixture, "jobs run one at a time in the order they came") {
    submit(alice, "a");
    submit(bob, "b");
    submit(alice, "c");
    CHECK(runner.started == std::vector<std::uint32_t>{1});
    CHECK(runner.positions == std::map<std::uint32_t, std::uint32_t>{{1, 0}, {2, 1}, {3, 2}});
    queue.finished(JobId{1}, success());
    CHECK(runner.started == std::vector<std::uint32_t>{1, 2});
    CHECK(runner.positions[2] == 0);
    CHECK(runner.positions[3] == 1);
    queue.finished(JobId{2}, success());
    queue.finished(JobId{3}, success());
    CHECK(queue.empty());
}

TEST_CASE_METHOD(Fixture, "an equal request joins, a different one queues") {
    const auto first = submit(alice, "a");
    CHECK(submit(bob, "a") == first);
    CHECK(queue.submit(alice, request<job::Prepare>("a"), {}, false) != first);
    auto pinned = request("a");
    std::get<job::Pull>(pinned.work).digest = Digest(checksum_of('1'));
    CHECK(queue.submit(alice, pinned, {}, false) != first);
    const auto waiting = submit(alice, "b");
    CHECK(submit(bob, "b") == waiting);
}

TEST_CASE_METHOD(Fixture, "a request that comes after a cancel is a new job") {
    const auto first = submit(alice, "a");
    queue.give_up(first, alice);
    CHECK(runner.stopped == std::vector<std::uint32_t>{1});
    CHECK(submit(alice, "a") != first);
}

TEST_CASE_METHOD(Fixture, "credentials are shared with nobody else") {
    const auto with = [&](const Caller& caller) {
        return queue.submit(caller, request("a"), {FileDescriptor(::open("/dev/null", O_RDONLY)), {}}, false);
    };
    const auto first = with(alice);
    CHECK(runner.had_auth_file);
    CHECK(with(alice_again) != first);
    CHECK(with(bob) != first);
    CHECK(submit(alice, "a") != first);
}

TEST_CASE_METHOD(Fixture, "one user may have 32 jobs waiting") {
    submit(alice, "running");
    for (std::size_t count = 0; count < JobQueue::Limits().queued_per_user; ++count)
        submit(alice, std::to_string(count));
    try {
        submit(alice, "one more");
        FAIL("accepted");
    } catch (const Error& error) {
        CHECK(error.kind() == ErrorKind::queue_full);
    }
    CHECK_THROWS_AS(queue.require_room(alice, request("one more"), {}), Error);
    CHECK_NOTHROW(queue.require_room(alice, request("0"), {}));
    CHECK_NOTHROW(queue.require_room(bob, request("one more"), {}));
    CHECK_NOTHROW(submit(alice, "0"));  // joins
    CHECK_NOTHROW(submit(bob, "one more"));
}

TEST_CASE_METHOD(Fixture, "256 jobs may wait in all") {
    submit(alice, "running");
    for (std::size_t count = 0; count < JobQueue::Limits().queued; ++count) {
        submit({":2." + std::to_string(count), static_cast<uid_t>(count)}, std::to_string(count));
    }
    CHECK_THROWS_AS(submit({":3.1", 5000}, "one more"), Error);
}

TEST_CASE_METHOD(Fixture, "a waiting job that is cancelled is gone at once and the others move up") {
    submit(alice, "a");
    const auto second = submit(alice, "b");
    submit(alice, "c");
    queue.give_up(second, alice);
    CHECK(was_cancelled(second));
    CHECK(runner.positions[3] == 1);
    CHECK(runner.stopped.empty());
}

TEST_CASE_METHOD(Fixture, "a running job that is cancelled ends when its worker has ended") {
    const auto id = submit(alice, "a");
    submit(alice, "b");
    queue.give_up(id, alice);
    queue.give_up(id, alice);
    CHECK(runner.stopped == std::vector<std::uint32_t>{1});
    CHECK(runner.started == std::vector<std::uint32_t>{1});
    auto result = success();
    result.outcome = job::Outcome::cancelled;
    queue.finished(id, result);
    CHECK(runner.started == std::vector<std::uint32_t>{1, 2});
}

TEST_CASE_METHOD(Fixture, "a joined job goes on while another caller wants it") {
    const auto id = submit(alice, "a");
    submit(bob, "a");
    queue.give_up(id, alice);
    CHECK(runner.stopped.empty());
    CHECK_FALSE(queue.has_share(id, alice));
    queue.give_up(id, bob);
    CHECK(runner.stopped == std::vector<std::uint32_t>{1});
}

TEST_CASE_METHOD(Fixture, "another connection of the same user gives up that user's shares") {
    const auto id = submit(alice, "a");
    CHECK(queue.has_share(id, alice_again));
    CHECK_FALSE(queue.has_share(id, bob));
    queue.give_up(id, alice_again);
    CHECK(runner.stopped == std::vector<std::uint32_t>{1});
}

TEST_CASE_METHOD(Fixture,
                 "connections whose user gave up their shares elsewhere are told that the job goes on without them") {
    const Caller alice_elsewhere{":1.9", 1000};
    const auto id = submit(alice, "a");
    submit(alice_again, "a");
    submit(bob, "a");
    CHECK(queue.give_up(id, alice_elsewhere));
    CHECK(runner.left == std::vector<std::string>{":1.1", ":1.2"});
    // One that gives up its own share has its answer; and who waits for a job that ends is told by its end.
    runner.left.clear();
    submit(alice, "a");
    CHECK(queue.give_up(id, alice));
    CHECK_FALSE(queue.give_up(id, {":1.10", 1001}));
    CHECK(runner.left.empty());
}

TEST_CASE_METHOD(Fixture, "root's other connection holds no share, its cancel is for everyone") {
    const auto id = submit(root, "a");
    submit(bob, "a");
    CHECK(queue.has_share(id, root));
    CHECK_FALSE(queue.has_share(id, Caller{":9.9", 0}));
    queue.cancel(id);
    CHECK(runner.stopped == std::vector<std::uint32_t>{1});
}

TEST_CASE_METHOD(Fixture, "a caller that leaves stops its job only when it is bound") {
    const auto id = submit(alice, "a");
    const auto bound = submit(alice, "b", true);
    queue.caller_left(alice.bus_name);
    CHECK(was_cancelled(bound));
    CHECK(runner.stopped.empty());
    CHECK(queue.has_share(id, alice_again));
}

TEST_CASE_METHOD(Fixture, "a bound caller that leaves does not stop what another one wants") {
    submit(alice, "a", true);
    submit(bob, "a");
    queue.caller_left(alice.bus_name);
    CHECK(runner.stopped.empty());
}

TEST_CASE_METHOD(Fixture, "callers that come and go leave one share a user") {
    submit(alice, "a");
    for (int count = 0; count < 1000; ++count) {
        const Caller caller{":5." + std::to_string(count), 1001};
        submit(caller, "a");
        queue.caller_left(caller.bus_name);
    }
    CHECK(queue.jobs().front().shares.size() == 2);
}

TEST_CASE_METHOD(Fixture, "cancelling all starts no other job") {
    submit(alice, "a");
    submit(alice, "b");
    submit(bob, "c");
    queue.stop_all();
    CHECK(runner.started == std::vector<std::uint32_t>{1});
    CHECK(runner.finished.size() == 2);
    for (const auto& [id, result] : runner.finished) CHECK(result.error_name == "Stopped");
    queue.finished(JobId{1}, success());
    CHECK(queue.empty());
}

namespace {

job::Request in_background(const std::string& image) {
    auto wanted = request(image);
    wanted.background = true;
    return wanted;
}

}  // namespace

TEST_CASE_METHOD(Fixture, "a background job comes after all others and gives way") {
    const auto behind = queue.submit(root, in_background("behind"), {}, false, Standing::owner);
    const auto later = queue.submit(root, in_background("later"), {}, false, Standing::owner);
    CHECK(runner.started == std::vector{number(behind)});
    CHECK(runner.stopped.empty());
    const auto first = submit(alice, "first");
    CHECK(runner.stopped == std::vector{number(behind)});
    const auto second = submit(bob, "second");
    CHECK(runner.stopped.size() == 1);
    CHECK(runner.positions[number(first)] == 1);
    CHECK(runner.positions[number(second)] == 2);
    CHECK(runner.positions[number(later)] == 3);
    auto ended = success();
    ended.outcome = job::Outcome::cancelled;
    queue.finished(behind, ended);
    CHECK(runner.finished[number(behind)].outcome == job::Outcome::failed);
    CHECK(runner.finished[number(behind)].error_name == "Deferred");
    queue.finished(first, success());
    queue.finished(second, success());
    CHECK(runner.started == std::vector{number(behind), number(first), number(second), number(later)});
}

TEST_CASE_METHOD(Fixture, "a background job that ends well before it is stopped has done its work") {
    const auto behind = queue.submit(root, in_background("behind"), {}, false, Standing::owner);
    submit(alice, "other");
    queue.finished(behind, success());
    CHECK(runner.finished[number(behind)].outcome == job::Outcome::success);
}

TEST_CASE_METHOD(Fixture, "a background job is stopped only where another one could start") {
    const auto open = [&](const Caller& caller, const std::string& image, bool background) {
        auto wanted = request<job::Prepare>(image);
        wanted.background = background;
        return queue.submit(caller, wanted, {}, false, Standing::open);
    };
    const auto of_alice = open(alice, "a", false), behind = open(bob, "b", true);
    CHECK(runner.started == std::vector{number(of_alice), number(behind)});
    // One of each user: it waits for her own.
    open(alice, "c", false);
    CHECK(runner.stopped.empty());
    // Nor do jobs of another lane.
    submit(alice, "d");
    CHECK(runner.stopped.empty());
    const Caller carol{":1.9", 1002};
    open(carol, "e", false);
    CHECK(runner.stopped == std::vector{number(behind)});
}

TEST_CASE_METHOD(Fixture, "background requests join background jobs, and others none of them") {
    const auto behind = queue.submit(alice, in_background("a"), {}, false);
    CHECK(queue.submit(bob, in_background("a"), {}, false) == behind);
    CHECK(submit(alice, "a") != behind);
}
