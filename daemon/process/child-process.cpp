// SPDX-License-Identifier: Apache-2.0
#include "process/child-process.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>

#include "base/error.hpp"

namespace imaged {

FileDescriptor moved_up(const FileDescriptor& file, int lowest) {
    if (!file) return {};
    FileDescriptor copy(::fcntl(file.get(), F_DUPFD_CLOEXEC, lowest));
    if (!copy) throw_errno("duplicate a descriptor for a process");
    return copy;
}

void begin_child(int parent, int signal) {
    ::setpgid(0, 0);
    ::prctl(PR_SET_PDEATHSIG, signal);
    if (::getppid() != parent) ::_exit(cannot_run);
    for (int number = 1; number < NSIG; ++number) ::signal(number, SIG_DFL);
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

void close_from(int first) {
    ::syscall(SYS_close_range, static_cast<unsigned>(first), ~0U, 0U);
}

}  // namespace imaged
