// SPDX-License-Identifier: Apache-2.0
// The daemon's one loop, sd-event(3): descriptors, timers, deferred calls and the bus connection, all served by the
// thread in run().
//
// Everything but post() belongs to that thread. Callbacks must not throw; whatever they throw ends run().
// A callback may add and remove any source, its own too.
#pragma once

#include <chrono>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "base/file-descriptor.hpp"

struct sd_event;
struct sd_event_source;

namespace imaged {

class EventLoop {
    struct Free {
        void operator()(sd_event* event) const;
        void operator()(sd_event_source* source) const;
    };

public:
    using Clock = std::chrono::steady_clock;
    using Callback = std::function<void()>;

private:
    struct Call {
        EventLoop& loop;
        Callback callback;
        std::unique_ptr<sd_event_source, Free> source = {};
    };

public:
    // Calls its callback once, unless it is destroyed or replaced before; its callback may do that too.
    class Timer {
    public:
        explicit operator bool() const { return call_ && call_->callback; }  // whether the call is still to come

    private:
        friend EventLoop;
        std::unique_ptr<Call> call_;
    };

    // Something that decides before each wait what it waits for: the bus.
    class Source {
    public:
        virtual ~Source() = default;
        virtual int descriptor() const = 0;
        virtual std::optional<int> second_descriptor() const = 0;  // another that can be read
        // The events of poll(2) that the descriptor is waited for, and for how many milliseconds, -1 for no limit.
        virtual std::pair<short, int> prepare() = 0;
        // Does a bounded piece of work; called after a wait.
        virtual void dispatch() = 0;
        // Whether what was sent waits to be taken.
        virtual bool congested() const = 0;
    };

    EventLoop();
    EventLoop& operator=(EventLoop&&) = delete;

    // Once, before run(). SOURCE is borrowed.
    void set_source(Source& source);

    // READY is called whenever DESCRIPTOR can be read or was hung up. The descriptor stays the caller's, who removes
    // the watch before closing it.
    void watch(int descriptor, Callback ready);
    void unwatch(int descriptor) { watches_.erase(descriptor); }

    [[nodiscard]] Timer after(Clock::duration delay, Callback callback);

    // Calls CALLBACK from run(), after what is being served now. From any thread.
    void post(Callback callback);
    // Calls CALLBACK when the source is not congested: what it sends does not add to what waits already.
    void when_uncongested(Callback callback) { uncongested_.push_back(std::move(callback)); }

    void run() {
        while (!stopped_) iterate(-1);
    }
    // Serves one source; returns after at most MILLISECONDS, -1 for no limit. Throws if a callback calls it.
    void iterate(int milliseconds);
    void stop() { stopped_ = true; }

private:
    std::unique_ptr<Call> at_descriptor(int descriptor, short events, Callback callback);
    std::unique_ptr<Call> at_time(Clock::duration delay, Callback callback);
    static int run(void* call) noexcept;
    void prepare_source();
    void run_posted();

    std::unique_ptr<sd_event, Free> event_;
    FileDescriptor wake_;
    std::map<int, std::unique_ptr<Call>> watches_;
    Source* source_ = nullptr;
    std::unique_ptr<Call> source_ready_, source_ready_too_, source_due_;
    bool stopped_ = false;
    std::exception_ptr failure_;  // what a callback threw
    std::deque<Callback> uncongested_;

    std::mutex posted_mutex_;
    std::deque<Callback> posted_;
};

}  // namespace imaged
