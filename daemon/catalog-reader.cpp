// SPDX-License-Identifier: Apache-2.0
#include "catalog-reader.hpp"

#include <sys/stat.h>

#include <cerrno>
#include <fstream>
#include <utility>

#include "base/error.hpp"
#include "base/system-failure.hpp"

namespace imaged {

namespace {

// Callers that wait for an answer; more are told so.
constexpr std::size_t max_waiting = 4096;
// A repository's config is a handful of lines.
constexpr int max_config_lines = 1000;

}  // namespace

CatalogReader::CatalogReader(EventLoop& loop, std::string repository)
    : loop_(loop), repository_(std::move(repository)) {}

CatalogReader::~CatalogReader() {
    {
        const std::lock_guard lock(mutex_);
        ending_ = true;
    }
    changed_.notify_one();
    if (thread_.joinable()) thread_.join();
}

void CatalogReader::ask(Task task) {
    {
        const std::lock_guard lock(mutex_);
        if (tasks_.size() >= max_waiting) throw Error(ErrorKind::queue_full, "too many requests wait for an answer");
        tasks_.push_back(std::move(task));
    }
    if (!thread_.joinable()) thread_ = std::thread([this] { work(); });
    changed_.notify_one();
}

void CatalogReader::work() {
    while (true) {
        Task task;
        {
            std::unique_lock lock(mutex_);
            changed_.wait(lock, [this] { return ending_ || !tasks_.empty(); });
            if (ending_) return;
            task = std::move(tasks_.front());
            tasks_.pop_front();
        }
        auto answer = task([this] { return open(); });
        // The task may hold what belongs to the bus thread; it ends there.
        loop_.post([task = std::move(task), answer = std::move(answer)] { answer(); });
    }
}

Catalog* CatalogReader::open() {
    struct stat status {};
    if (::stat(repository_.c_str(), &status) < 0) {
        const int error_number = errno;
        catalog_.reset();
        if (error_number == ENOENT) return nullptr;
        throw as_damage(system_error(error_number, repository_));
    }
    if (catalog_ && !catalog_->is_current()) catalog_.reset();
    if (!catalog_) catalog_ = open_catalog(repository_);
    return catalog_.get();
}

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

}  // namespace imaged
