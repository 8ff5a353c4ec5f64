// SPDX-License-Identifier: Apache-2.0
#include "job-directory.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/error.hpp"
#include "sandbox.hpp"

namespace imaged {

namespace {

void close_all_but(std::array<int, 2> kept) {
    std::sort(kept.begin(), kept.end());
    unsigned next = 0;
    for (const int descriptor : kept) {
        const auto number = static_cast<unsigned>(descriptor);
        if (number > next) ::close_range(next, number - 1, 0);
        next = number + 1;
    }
    ::close_range(next, ~0U, 0);
}

}  // namespace

JobDirectory::JobDirectory() noexcept {
    try {
        directory_.emplace();
    } catch (const std::exception&) {
        // Most jobs need none.
    }
}

FileDescriptor JobDirectory::make_mount(const std::string& name) const {
    if (!directory_) return {};
    const auto path = directory_->path() / name;
    if (::mkdir(path.c_str(), 0700) != 0) throw_errno("make " + path.string());
    FileDescriptor mount(static_cast<int>(
        ::syscall(SYS_open_tree, AT_FDCWD, path.c_str(), OPEN_TREE_CLONE | static_cast<unsigned>(OPEN_TREE_CLOEXEC))));
    if (!mount) throw_errno("open_tree " + path.string());
    return mount;
}

void JobDirectory::remove_after(pid_t job) {
    if (!directory_) return;
    const FileDescriptor process(static_cast<int>(::syscall(SYS_pidfd_open, job, 0U)));
    if (!process) throw_errno("pidfd_open");
    remover_ = ::fork();
    if (remover_ < 0) throw_errno("fork");
    if (remover_ > 0) return;
    try {
        // Out of the worker's group.
        ::setsid();
        close_all_but({process.get(), directory_->lock()});
        keep_removing_capabilities();
        pollfd ended{process.get(), POLLIN, 0};
        while (::poll(&ended, 1, -1) < 0) {
        }
        directory_.reset();
    } catch (const std::exception&) {
        // The supervisor tries again, or the next job.
    }
    ::_exit(0);
}

void JobDirectory::wait_until_removed() {
    while (remover_ > 0 && ::waitpid(remover_, nullptr, 0) < 0 && errno == EINTR) {
    }
    directory_.reset();
}

void JobDirectory::leave_to_supervisor() {
    if (directory_) directory_->leave_to_parent();
}

}  // namespace imaged
