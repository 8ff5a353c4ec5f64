// SPDX-License-Identifier: Apache-2.0
#include "process/event-loop.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/error.hpp"

namespace imaged {

namespace {

int smaller(int a, int b) {
    if (a < 0) return b;
    if (b < 0) return a;
    return std::min(a, b);
}

}  // namespace

EventLoop::EventLoop() : wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (!wake_) throw_errno("eventfd");
}

void EventLoop::watch(int descriptor, Callback ready) {
    watches_[descriptor] = std::move(ready);
}

void EventLoop::unwatch(int descriptor) {
    watches_.erase(descriptor);
}

EventLoop::TimerId EventLoop::after(Clock::duration delay, Callback callback) {
    const auto id = ++last_timer_;
    timers_.emplace(std::pair{Clock::now() + delay, id}, std::move(callback));
    return TimerId{id};
}

void EventLoop::cancel(TimerId timer) {
    std::erase_if(timers_, [timer](const auto& entry) { return TimerId{entry.first.second} == timer; });
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

// One callback a round, as it may fill what was empty.
void EventLoop::run_uncongested() {
    if (uncongested_.empty() || (source_ != nullptr && source_->congested())) return;
    const auto callback = std::move(uncongested_.front());
    uncongested_.pop_front();
    callback();
}

void EventLoop::run_timers() {
    const auto now = Clock::now();
    while (!timers_.empty() && timers_.begin()->first.first <= now) {
        const auto callback = std::move(timers_.begin()->second);
        timers_.erase(timers_.begin());
        callback();
    }
}

int EventLoop::timeout(int limit) const {
    if (timers_.empty()) return limit;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(timers_.begin()->first.first - Clock::now()).count();
    return smaller(static_cast<int>(std::clamp<long long>(left, 0, 3'600'000)), limit);
}

void EventLoop::iterate(int milliseconds) {
    std::vector<std::pair<int, short>> wanted{{wake_.get(), POLLIN}};
    for (const auto& [descriptor, callback] : watches_) wanted.emplace_back(descriptor, POLLIN);
    const auto watched = wanted.size();
    int limit = timeout(milliseconds);
    if (source_ != nullptr) limit = smaller(limit, source_->prepare(wanted));
    if (!uncongested_.empty() && (source_ == nullptr || !source_->congested())) limit = 0;

    std::vector<struct pollfd> polled;
    polled.reserve(wanted.size());
    for (const auto& [descriptor, events] : wanted) polled.push_back({descriptor, events, 0});
    if (::poll(polled.data(), polled.size(), limit) < 0 && errno != EINTR) throw_errno("poll");

    run_posted();
    run_timers();
    run_uncongested();
    for (std::size_t index = 1; index < watched; ++index) {
        if (polled[index].revents == 0) continue;
        const auto found = watches_.find(polled[index].fd);
        if (found == watches_.end()) continue;
        const auto callback = found->second;  // a copy: it may unwatch itself
        callback();
    }
    if (source_ != nullptr) source_->dispatch();
}

void EventLoop::run() {
    while (!stopped_) iterate(-1);
}

}  // namespace imaged
