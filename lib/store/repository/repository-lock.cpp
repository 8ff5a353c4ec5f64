// SPDX-License-Identifier: Apache-2.0
// libostree's lock of a repository, and how long imaged waits for it.
#include <fcntl.h>
#include <sys/file.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "base/error.hpp"
#include "store/repository/repository.hpp"

namespace imaged {

namespace {

constexpr std::chrono::seconds default_lock_wait(30);  // libostree's own
constexpr std::chrono::milliseconds lock_poll(50);

}  // namespace

bool Repository::is_unlocked() const {
    // libostree locks this file by its open descriptor (fcntl(2)), or with flock(2) if the kernel cannot; the first
    // program that locks makes it.
    const auto file = try_open_at(fd(), ".lock", O_RDWR);
    if (!file) return true;
    if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) return false;
    struct flock wanted {};
    wanted.l_type = F_WRLCK;
    // If it cannot be known, taking the lock reports why.
    return ::fcntl(file.get(), F_OFD_GETLK, &wanted) != 0 || wanted.l_type == F_UNLCK;
}

std::chrono::seconds Repository::lock_limit() const {
    const CharPtr text(
        g_key_file_get_string(ostree_repo_get_config(repo_.get()), "core", "lock-timeout-secs", nullptr));
    const auto seconds = text ? g_ascii_strtoll(text.get(), nullptr, 10) : -1;
    return seconds < 0 ? default_lock_wait : std::chrono::seconds(std::min<gint64>(seconds, 3600));
}

void Repository::wait_until_unlocked(const Cancellation& cancellation) const {
    using Clock = std::chrono::steady_clock;
    const auto limit = lock_limit();
    const auto end = Clock::now() + limit;
    while (!is_unlocked()) {
        if (Clock::now() >= end)
            throw Error(ErrorKind::failed, "another program is at work in the repository " + path_ +
                                               " and has not released its lock for " + std::to_string(limit.count()) +
                                               " seconds");
        is_readable(cancellation.fd(), static_cast<int>(lock_poll.count()));
        cancellation.check();
    }
}

Repository::Lock::Lock(Repository& repository, LockKind kind) : repository_(repository), kind_(kind) {
    repository_.writer_->lock(kind, repository.lock_limit());
}

Repository::Lock::~Lock() {
    repository_.writer_->unlock(kind_);
}

}  // namespace imaged
