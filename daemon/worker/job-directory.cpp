// SPDX-License-Identifier: Apache-2.0
#include "job-directory.hpp"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "base/error.hpp"
#include "sandbox.hpp"

namespace imaged {

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

void JobDirectory::remove_after(const ChildProcess& job) {
    if (!directory_) return;
    std::array<int, 2> kept{job.fd(), directory_->lock()};
    remover_ = ChildProcess::copy("start the process that removes the job's temporary files");
    if (!remover_.is_copy()) return;
    try {
        // Out of the worker's group.
        ::setsid();
        std::sort(kept.begin(), kept.end());
        close_others(kept);
        keep_removing_capabilities();
        while (!is_readable(job.fd(), -1)) {
        }
        directory_.reset();
    } catch (const std::exception&) {
        // The supervisor tries again, or the next job.
    }
    ::_exit(0);
}

void JobDirectory::wait_until_removed() {
    remover_.wait();
    directory_.reset();
}

}  // namespace imaged
