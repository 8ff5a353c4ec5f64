// SPDX-License-Identifier: Apache-2.0
#include "reading/file-reader.hpp"

#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "base/error.hpp"

namespace imaged {

namespace {

// Requests that wait for an answer; root's have room of their own.
constexpr std::size_t max_waiting = 4096, max_waiting_per_user = 1024;

}  // namespace

struct FileReader::Shared {
    explicit Shared(EventLoop& event_loop) : loop(&event_loop) {}

    // The next request, in turn. With the mutex held.
    std::optional<Task> take();

    EventLoop* loop;  // null when the reader is gone; with the mutex held

    std::mutex mutex;
    std::condition_variable changed;
    std::map<uid_t, std::deque<Task>> tasks;
    std::size_t waiting = 0;  // without root's
    uid_t last_served = 0;
    bool delivering = false;
};

FileReader::FileReader(EventLoop& loop) : shared_(std::make_shared<Shared>(loop)) {}

FileReader::~FileReader() {
    const std::lock_guard lock(shared_->mutex);
    shared_->loop = nullptr;
    shared_->tasks.clear();
    shared_->changed.notify_all();
}

void FileReader::ask(const Caller& caller, Task task) {
    {
        const std::lock_guard lock(shared_->mutex);
        auto& of_user = shared_->tasks[caller.uid];
        if (of_user.size() >= max_waiting_per_user || (caller.uid != 0 && shared_->waiting >= max_waiting)) {
            if (of_user.empty()) shared_->tasks.erase(caller.uid);
            throw Error(ErrorKind::queue_full, "too many requests wait for an answer");
        }
        of_user.push_back(std::move(task));
        if (caller.uid != 0) ++shared_->waiting;
    }
    if (!std::exchange(started_, true)) std::thread([shared = shared_] { work(shared); }).detach();
    shared_->changed.notify_all();
}

std::optional<FileReader::Task> FileReader::Shared::take() {
    if (tasks.empty() || delivering) return std::nullopt;
    auto next = tasks.find(0);
    if (next == tasks.end()) next = tasks.upper_bound(last_served);
    if (next == tasks.end()) next = tasks.begin();
    if (next->first != 0) {
        last_served = next->first;
        --waiting;
    }
    auto task = std::move(next->second.front());
    next->second.pop_front();
    if (next->second.empty()) tasks.erase(next);
    delivering = true;
    return task;
}

void FileReader::work(const std::shared_ptr<Shared>& shared) {
    while (true) {
        std::optional<Task> task;
        {
            std::unique_lock lock(shared->mutex);
            shared->changed.wait(lock, [&] { return shared->loop == nullptr || (task = shared->take()).has_value(); });
            if (shared->loop == nullptr) return;
        }
        auto answer = (*task)();
        const std::lock_guard lock(shared->mutex);
        // What the request holds belongs to the bus thread, which has ended: it is left behind.
        if (shared->loop == nullptr) {
            new auto(std::pair(std::move(*task), std::move(answer)));
            return;
        }
        // The task may hold what belongs to the bus thread; it ends there.
        shared->loop->post(
            [shared, task = std::move(*task), answer = std::move(answer), loop = shared->loop]() mutable {
                answer();
                loop->when_uncongested([shared] {
                    const std::lock_guard release(shared->mutex);
                    shared->delivering = false;
                    shared->changed.notify_all();
                });
            });
    }
}

}  // namespace imaged
