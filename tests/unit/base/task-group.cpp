// SPDX-License-Identifier: Apache-2.0
#include "base/task-group.hpp"

#include <atomic>
#include <latch>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/error.hpp"
#include "catch.hpp"

using namespace imaged;

TEST_CASE("each number is worked on once, by as many threads as were asked for") {
    std::mutex mutex;
    std::multiset<std::size_t> done;
    std::set<std::thread::id> threads;
    std::latch all(3);
    run_in_threads(3, 100, [&](std::size_t number) {
        // None goes on before there are three of them.
        if (number < 3) all.arrive_and_wait();
        const std::lock_guard lock(mutex);
        done.insert(number);
        threads.insert(std::this_thread::get_id());
    });
    REQUIRE(done.size() == 100);
    REQUIRE(std::set<std::size_t>(done.begin(), done.end()).size() == 100);
    REQUIRE(threads.size() == 3);
    REQUIRE(threads.contains(std::this_thread::get_id()));
}

TEST_CASE("one thread works in order, and nothing is nothing") {
    std::vector<std::size_t> done;
    run_in_threads(1, 3, [&](std::size_t number) { done.push_back(number); });
    REQUIRE(done == std::vector<std::size_t>{0, 1, 2});
    run_in_threads(4, 0, [](std::size_t) { FAIL("called"); });
}

TEST_CASE("after a failure nothing begins, and the first failure is thrown") {
    std::vector<std::size_t> done;
    int failures = 0;
    const auto work = [&](std::size_t number) {
        done.push_back(number);
        if (number == 1) throw Error(ErrorKind::failed, "number 1");
    };
    REQUIRE_THROWS_WITH(run_in_threads(1, 10, work, [&] { ++failures; }), "number 1");
    REQUIRE(done == std::vector<std::size_t>{0, 1});
    REQUIRE(failures == 1);
    std::latch both(2);
    std::atomic<int> calls = 0;
    const auto fail = [&](std::size_t) {
        ++calls;
        both.arrive_and_wait();
        throw Error(ErrorKind::failed, "all");
    };
    REQUIRE_THROWS_AS(run_in_threads(2, 10, fail, [&] { ++failures; }), Error);
    REQUIRE(calls == 2);
    REQUIRE(failures == 3);
}

TEST_CASE("a group waits for its tasks, and throws the first failure from then on") {
    std::vector<std::thread> threads;
    std::atomic<int> done = 0;
    TaskGroup group;
    for (int i = 0; i < 4; ++i) threads.emplace_back(group.add([&] { ++done; }));
    group.wait();
    REQUIRE(done == 4);
    threads.emplace_back(group.add([] { throw Error(ErrorKind::failed, "first"); }));
    REQUIRE_THROWS_WITH(group.wait(), "first");
    REQUIRE_THROWS_WITH(group.add([] {}), "first");
    REQUIRE_THROWS_WITH(group.wait(), "first");
    for (auto& thread : threads) thread.join();
}

TEST_CASE("a group that goes waits for its tasks first") {
    std::thread thread;
    std::atomic<bool> done = false;
    {
        TaskGroup group;
        thread = std::thread(group.add([&] {
            std::this_thread::sleep_for(std::chrono::milliseconds(50));
            done = true;
        }));
    }
    REQUIRE(done);
    thread.join();
}

TEST_CASE("a member of a group is one until its last copy is gone") {
    std::thread thread;
    std::atomic<bool> done = false;
    TaskGroup group;
    {
        auto member = group.member();
        thread = std::thread([copy = member, &done] {
            std::this_thread::sleep_for(std::chrono::milliseconds(50));
            done = true;
        });
    }
    group.wait();
    REQUIRE(done);
    thread.join();
}

TEST_CASE("threads of a pool end before it does") {
    std::atomic<int> calls = 0;
    {
        const auto threads = start_threads(3, [&] { ++calls; });
        REQUIRE(threads.size() == 3);
    }
    REQUIRE(calls == 3);
}
