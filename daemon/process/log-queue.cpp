// SPDX-License-Identifier: Apache-2.0
#include "process/log-queue.hpp"

#include <signal.h>
#include <spdlog/sinks/base_sink.h>

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>

#include "base/file-descriptor.hpp"

namespace imaged::log_queue {

namespace {

constexpr std::size_t max_waiting = 1000;

// Without signals, which would end the process there as long as the daemon does not read them itself.
template <typename Function>
void start_thread(Function function) {
    sigset_t all, before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    try {
        std::thread(std::move(function)).detach();
    } catch (...) {
        ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
        throw;
    }
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

// Lives as long as the process: its thread may be writing when everything else has ended.
struct Queue {
    std::mutex mutex;
    std::condition_variable changed;
    std::deque<std::function<void()>> waiting;
    std::size_t dropped = 0;
    bool started = false, writing = false;

    void work() {
        std::unique_lock lock(mutex);
        for (;;) {
            changed.wait(lock, [this] { return !waiting.empty(); });
            const auto write = std::move(waiting.front());
            waiting.pop_front();
            const auto lost = std::exchange(dropped, 0U);
            writing = true;
            lock.unlock();
            if (lost > 0)
                write_to_stderr("imaged: warning: dropped " + std::to_string(lost) +
                                " log messages, because nobody read them\n");
            write();
            lock.lock();
            writing = false;
            changed.notify_all();
        }
    }
};

Queue& queue() {
    static auto* queue = new Queue;
    return *queue;
}

class Sink final : public spdlog::sinks::base_sink<std::mutex> {
    void sink_it_(const spdlog::details::log_msg& message) override {
        spdlog::memory_buf_t text;
        formatter_->format(message, text);
        add([line = std::string(text.data(), text.size())] { write_to_stderr(line); });
    }
    void flush_() override {}
};

}  // namespace

void add(std::function<void()> write) noexcept {
    try {
        auto& all = queue();
        const std::lock_guard lock(all.mutex);
        if (all.waiting.size() >= max_waiting) {
            ++all.dropped;
            return;
        }
        all.waiting.push_back(std::move(write));
        if (!std::exchange(all.started, true)) start_thread([&all] { all.work(); });
        all.changed.notify_all();
    } catch (...) {
        // A message that cannot be kept is lost.
    }
}

void flush(std::chrono::milliseconds limit) noexcept {
    try {
        auto& all = queue();
        std::unique_lock lock(all.mutex);
        all.changed.wait_for(lock, limit, [&] { return all.waiting.empty() && !all.writing; });
    } catch (...) {
    }
}

std::shared_ptr<spdlog::logger> make_logger() {
    return std::make_shared<spdlog::logger>("imaged", std::make_shared<Sink>());
}

}  // namespace imaged::log_queue
