// SPDX-License-Identifier: Apache-2.0
#include "process/event-loop.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>

#include "catch.hpp"

using namespace std::chrono_literals;
using imaged::EventLoop;

TEST_CASE("timers run in the order they are due, cancelled ones never") {
    EventLoop loop;
    std::string order;
    const auto last = loop.after(20ms, [&] {
        order += 'c';
        loop.stop();
    });
    const auto first = loop.after(0ms, [&] { order += 'a'; });
    auto never = loop.after(5ms, [&] { order += 'x'; });
    const auto second = loop.after(1ms, [&] {
        order += 'b';
        never = {};
    });
    CHECK(second);
    loop.run();
    CHECK(order == "abc");
    CHECK(!second);
}

TEST_CASE("a timer's callback may start it again") {
    EventLoop loop;
    int calls = 0;
    EventLoop::Timer timer;
    const std::function<void()> again = [&] {
        if (++calls == 3) loop.stop();
        timer = loop.after(1ms, again);
    };
    again();
    loop.run();
    CHECK(calls == 3);
    CHECK(timer);
}

TEST_CASE("what a callback throws ends the loop") {
    EventLoop loop;
    const auto timer = loop.after(0ms, [] { throw std::runtime_error("wrong"); });
    CHECK_THROWS_WITH(loop.run(), "wrong");
}

TEST_CASE("a call posted from another thread wakes the loop") {
    EventLoop loop;
    std::thread other([&] {
        std::this_thread::sleep_for(10ms);
        loop.post([&] { loop.stop(); });
    });
    loop.run();
    other.join();
}

TEST_CASE("a watch may remove itself and its neighbour while it is called") {
    EventLoop loop;
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    const imaged::FileDescriptor reading(ends[0]), writing(ends[1]), twin(::dup(ends[0]));
    REQUIRE(::write(writing.get(), "x", 1) == 1);
    int calls = 0;
    const auto once = [&] {
        ++calls;
        loop.unwatch(reading.get());
        loop.unwatch(twin.get());
    };
    loop.watch(reading.get(), once);
    loop.watch(twin.get(), once);
    loop.iterate(100);
    loop.iterate(0);
    CHECK(calls == 1);
}
