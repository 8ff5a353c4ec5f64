// SPDX-License-Identifier: Apache-2.0
#include "process/event-loop.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/error.hpp"

namespace imaged {

namespace {

void check(int result, const char* what) {
    if (result >= 0) return;
    errno = -result;
    throw_errno(what);
}

std::uint64_t microseconds(EventLoop::Clock::duration time) {
    return static_cast<std::uint64_t>(
        std::max<long long>(std::chrono::ceil<std::chrono::microseconds>(time).count(), 0));
}

}  // namespace

void EventLoop::Free::operator()(sd_event* event) const {
    ::sd_event_unref(event);
}

void EventLoop::Free::operator()(sd_event_source* source) const {
    ::sd_event_source_disable_unref(source);
}

// The callback is a copy: it may remove its own source. sd-event is C, so nothing is thrown through it.
int EventLoop::run(void* data) noexcept {
    auto& loop = static_cast<Call*>(data)->loop;
    try {
        Callback(static_cast<Call*>(data)->callback)();
    } catch (...) {
        loop.failure_ = std::current_exception();
    }
    return 0;
}

std::unique_ptr<EventLoop::Call> EventLoop::at_descriptor(int descriptor, short events, Callback callback) {
    std::unique_ptr<Call> call(new Call{*this, std::move(callback)});
    sd_event_source* source = nullptr;
    const auto ready = [](sd_event_source*, int, std::uint32_t, void* data) { return run(data); };
    // The bits of poll(2) and epoll(7) are the same.
    check(::sd_event_add_io(event_.get(), &source, descriptor, static_cast<std::uint32_t>(events), ready, call.get()),
          "watch a descriptor");
    call->source.reset(source);
    return call;
}

std::unique_ptr<EventLoop::Call> EventLoop::at_time(Clock::duration delay, Callback callback) {
    std::unique_ptr<Call> call(new Call{*this, std::move(callback)});
    sd_event_source* source = nullptr;
    const auto due = [](sd_event_source*, std::uint64_t, void* data) { return run(data); };
    check(::sd_event_add_time_relative(event_.get(), &source, CLOCK_MONOTONIC, microseconds(delay), 1, due, call.get()),
          "start a timer");
    call->source.reset(source);
    return call;
}

EventLoop::EventLoop() : wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (!wake_) throw_errno("eventfd");
    sd_event* event = nullptr;
    check(::sd_event_new(&event), "make an event loop");
    event_.reset(event);
    watch(wake_.get(), [this] { run_posted(); });
}

void EventLoop::set_source(Source& source) {
    source_ = &source;
    const auto dispatch = [&source] { source.dispatch(); };
    source_ready_ = at_descriptor(source.descriptor(), 0, dispatch);
    if (const auto second = source.second_descriptor()) source_ready_too_ = at_descriptor(*second, POLLIN, dispatch);
    source_due_ = at_time({}, dispatch);
}

void EventLoop::watch(int descriptor, Callback ready) {
    unwatch(descriptor);
    watches_[descriptor] = at_descriptor(descriptor, POLLIN, std::move(ready));
}

EventLoop::Timer EventLoop::after(Clock::duration delay, Callback callback) {
    Timer timer;
    timer.call_ = at_time(delay, {});
    timer.call_->callback = [call = timer.call_.get(), callback = std::move(callback)] {
        call->callback = {};
        callback();
    };
    return timer;
}

void EventLoop::post(Callback callback) {
    {
        const std::lock_guard lock(posted_mutex_);
        posted_.push_back(std::move(callback));
    }
    const std::uint64_t one = 1;
    // It can only fail when the counter is full, and then the loop is awake already.
    [[maybe_unused]] const auto count = ::write(wake_.get(), &one, sizeof one);
}

void EventLoop::run_posted() {
    std::uint64_t count = 0;
    [[maybe_unused]] const auto size = ::read(wake_.get(), &count, sizeof count);
    std::deque<Callback> batch;
    {
        const std::lock_guard lock(posted_mutex_);
        batch.swap(posted_);
    }
    for (auto& callback : batch) callback();
}

void EventLoop::prepare_source() {
    const auto [events, milliseconds] = source_->prepare();
    check(::sd_event_source_set_io_events(source_ready_->source.get(), static_cast<std::uint32_t>(events)),
          "watch the bus");
    auto* const due = source_due_->source.get();
    if (milliseconds >= 0)
        check(::sd_event_source_set_time_relative(due, static_cast<std::uint64_t>(milliseconds) * 1000), "set a timer");
    check(::sd_event_source_set_enabled(due, milliseconds < 0 ? SD_EVENT_OFF : SD_EVENT_ONESHOT), "start a timer");
}

void EventLoop::iterate(int milliseconds) {
    if (source_ != nullptr) prepare_source();
    // One a round, as it may fill what was empty.
    const bool may_send = !uncongested_.empty() && (source_ == nullptr || !source_->congested());
    const auto limit = may_send ? 0 : milliseconds < 0 ? UINT64_MAX : static_cast<std::uint64_t>(milliseconds) * 1000;
    check(::sd_event_run(event_.get(), limit), "wait for events");
    if (failure_) std::rethrow_exception(std::exchange(failure_, {}));
    if (may_send && !(source_ != nullptr && source_->congested())) {
        const auto callback = std::move(uncongested_.front());
        uncongested_.pop_front();
        callback();
    }
}

}  // namespace imaged
