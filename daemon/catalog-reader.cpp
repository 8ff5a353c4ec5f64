// SPDX-License-Identifier: Apache-2.0
#include "catalog-reader.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <deque>
#include <fstream>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "base/error.hpp"
#include "base/system-failure.hpp"

namespace imaged {

namespace {

// Requests that wait for an answer; root's have room of their own.
constexpr std::size_t max_waiting = 4096, max_waiting_per_user = 1024;
// A repository's config is a handful of lines.
constexpr int max_config_lines = 1000;

}  // namespace

std::string repository_mode(const std::string& repository) {
    std::ifstream config(repository + "/config");
    std::string line;
    bool in_core = false;
    for (int count = 0; count < max_config_lines && std::getline(config, line); ++count) {
        std::erase_if(line, [](char c) { return c == ' ' || c == '\t' || c == '\r'; });
        if (line.starts_with('[')) in_core = line == "[core]";
        if (!in_core || !line.starts_with("mode=")) continue;
        const auto mode = line.substr(5);
        if (mode == "archive-z2") return "archive";
        return mode == "bare" || mode == "bare-user" || mode == "bare-user-only" || mode == "archive" ? mode
                                                                                                      : std::string();
    }
    return {};
}

struct CatalogReader::Shared {
    Shared(EventLoop& event_loop, std::string path) : loop(&event_loop), repository(std::move(path)) {}

    Catalog* open();
    // The next request, in turn. With the mutex held.
    std::optional<Task> take();

    EventLoop* loop;  // null when the reader is gone; with the mutex held
    const std::string repository;
    std::unique_ptr<Catalog> catalog;  // the reading thread's own

    std::mutex mutex;
    std::condition_variable changed;
    std::map<uid_t, std::deque<Task>> tasks;
    std::size_t waiting = 0;  // without root's
    uid_t last_served = 0;
    bool delivering = false;
    std::string mode;
    bool looking = false, look_again = false;
};

CatalogReader::CatalogReader(EventLoop& loop, std::string repository)
    : shared_(std::make_shared<Shared>(loop, std::move(repository))) {}

CatalogReader::~CatalogReader() {
    const std::lock_guard lock(shared_->mutex);
    shared_->loop = nullptr;
    shared_->tasks.clear();
    shared_->changed.notify_all();
}

void CatalogReader::ask(const Caller& caller, Task task) {
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

std::optional<CatalogReader::Task> CatalogReader::Shared::take() {
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

void CatalogReader::work(const std::shared_ptr<Shared>& shared) {
    while (true) {
        std::optional<Task> task;
        {
            std::unique_lock lock(shared->mutex);
            shared->changed.wait(lock, [&] { return shared->loop == nullptr || (task = shared->take()).has_value(); });
            if (shared->loop == nullptr) return;
        }
        auto answer = (*task)([&] { return shared->open(); });
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

Catalog* CatalogReader::Shared::open() {
    struct stat status {};
    if (::stat(repository.c_str(), &status) < 0) {
        const int error_number = errno;
        catalog.reset();
        if (error_number == ENOENT) return nullptr;
        throw as_damage(system_error(error_number, repository));
    }
    if (catalog && !catalog->is_current()) catalog.reset();
    if (!catalog) catalog = open_catalog(repository);
    return catalog.get();
}

std::string CatalogReader::mode() const {
    const std::lock_guard lock(shared_->mutex);
    return shared_->mode;
}

void CatalogReader::refresh_mode() {
    {
        const std::lock_guard lock(shared_->mutex);
        shared_->look_again = true;
        if (std::exchange(shared_->looking, true)) return;
    }
    std::thread([shared = shared_] {
        std::unique_lock lock(shared->mutex);
        while (std::exchange(shared->look_again, false)) {
            lock.unlock();
            auto mode = repository_mode(shared->repository);
            lock.lock();
            shared->mode = std::move(mode);
        }
        shared->looking = false;
    }).detach();
}

}  // namespace imaged
