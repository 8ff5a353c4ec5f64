// SPDX-License-Identifier: Apache-2.0
// The daemon's one loop: descriptors, timers, deferred calls and the bus connection, all served by the thread in run().
//
// Everything but post() belongs to that thread. Callbacks must not throw; whatever they throw ends run().
// A callback may add and remove any source, its own too.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "base/file-descriptor.hpp"

namespace imaged {

class EventLoop {
public:
    using Clock = std::chrono::steady_clock;
    using Callback = std::function<void()>;
    enum class TimerId : std::uint64_t { none = 0 };

    // Something that decides before each poll what it waits for: the bus.
    class Source {
    public:
        virtual ~Source() = default;
        // Adds to DESCRIPTORS (at most two, of struct pollfd's fd and events) and returns milliseconds, -1 for no
        // limit.
        virtual int prepare(std::vector<std::pair<int, short>>& descriptors) = 0;
        // Does a bounded piece of work; called after each poll.
        virtual void dispatch() = 0;
        // Whether what was sent waits to be taken.
        virtual bool congested() const { return false; }
    };

    EventLoop();
    EventLoop(const EventLoop&) = delete;
    EventLoop& operator=(const EventLoop&) = delete;

    void set_source(Source* source) { source_ = source; }

    // READY is called whenever DESCRIPTOR can be read or was hung up. The descriptor stays the caller's.
    void watch(int descriptor, Callback ready);
    void unwatch(int descriptor);

    TimerId after(Clock::duration delay, Callback callback);
    void cancel(TimerId timer);

    // Calls CALLBACK from run(), after what is being served now. From any thread.
    void post(Callback callback);
    // Calls CALLBACK when the source is not congested: what it sends does not add to what waits already.
    void when_uncongested(Callback callback) { uncongested_.push_back(std::move(callback)); }

    void run();
    // One round; returns after at most MILLISECONDS.
    void iterate(int milliseconds);
    void stop() { stopped_ = true; }

private:
    void run_posted();
    void run_uncongested();
    void run_timers();
    int timeout(int limit) const;

    Source* source_ = nullptr;
    FileDescriptor wake_;
    std::map<int, Callback> watches_;
    std::map<std::pair<Clock::time_point, std::uint64_t>, Callback> timers_;
    std::uint64_t last_timer_ = 0;
    bool stopped_ = false;
    std::deque<Callback> uncongested_;

    std::mutex posted_mutex_;
    std::deque<Callback> posted_;
};

}  // namespace imaged
