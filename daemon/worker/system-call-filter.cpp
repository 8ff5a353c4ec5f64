// SPDX-License-Identifier: Apache-2.0
#include "system-call-filter.hpp"

#include <asm/termbits.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>

#include "base/seccomp-filter.hpp"

namespace imaged {

namespace {

// Names, because not every architecture and not every libseccomp knows each of them. What the C library, GLib and
// OpenSSL of Debian 12 and 13 call stands here with what the worker calls itself.
constexpr std::array job_calls{
    // Files.
    "access", "chdir", "chmod", "chown", "close", "close_range", "copy_file_range", "creat", "dup", "dup2", "dup3",
    "faccessat", "faccessat2", "fadvise64", "fadvise64_64", "fallocate", "fchdir", "fchmod", "fchmodat", "fchmodat2",
    "fchown", "fchown32", "fchownat", "fdatasync", "fgetxattr", "flistxattr", "flock", "fremovexattr", "fsetxattr",
    "fstat", "fstat64", "fstatat64", "fstatfs", "fstatfs64", "fsync", "ftruncate", "ftruncate64", "getcwd", "getdents",
    "getdents64", "getxattr", "lchown", "lgetxattr", "link", "linkat", "listxattr", "llistxattr", "lremovexattr",
    "lseek", "_llseek", "lsetxattr", "lstat", "lstat64", "mkdir", "mkdirat", "memfd_create", "newfstatat", "open",
    "openat", "openat2", "pread64", "preadv", "preadv2", "pwrite64", "pwritev", "pwritev2", "read", "readahead",
    "readlink", "readlinkat", "readv", "rename", "renameat", "renameat2", "rmdir", "sendfile", "sendfile64", "setxattr",
    "splice", "stat", "stat64", "statfs", "statfs64", "statx", "symlink", "symlinkat", "sync_file_range", "syncfs",
    "tee", "truncate", "truncate64", "umask", "unlink", "unlinkat", "utimensat", "utimensat_time64", "vmsplice",
    "write", "writev",
    // Waiting and notification.
    "clock_getres", "clock_gettime", "clock_gettime64", "clock_nanosleep", "clock_nanosleep_time64", "epoll_create",
    "epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_pwait2", "epoll_wait", "eventfd", "eventfd2", "gettimeofday",
    "nanosleep", "pipe", "pipe2", "poll", "ppoll", "ppoll_time64", "pselect6", "select", "_newselect", "signalfd4",
    "time", "timerfd_create", "timerfd_gettime", "timerfd_settime",
    // Sockets that it has: the channel to imaged and pairs.
    "getpeername", "getsockname", "getsockopt", "recv", "recvfrom", "recvmsg", "send", "sendmsg", "sendto",
    "setsockopt", "shutdown",
    // Memory, threads and the process itself.
    "arch_prctl", "brk", "capget", "exit", "exit_group", "futex", "futex_time64", "futex_waitv", "get_robust_list",
    "get_thread_area", "getcpu", "getegid", "getegid32", "geteuid", "geteuid32", "getgid", "getgid32", "getgroups",
    "getgroups32", "getpgid", "getpgrp", "getpid", "getppid", "getpriority", "getrandom", "getresgid", "getresuid",
    "getrlimit", "getrusage", "getsid", "gettid", "getuid", "getuid32", "kill", "madvise", "membarrier", "mincore",
    "mlock", "mlock2", "mmap", "mmap2", "mprotect", "mremap", "msync", "munlock", "munmap", "pause", "prctl",
    "prlimit64", "restart_syscall", "riscv_flush_icache", "riscv_hwprobe", "rseq", "rt_sigaction", "rt_sigpending",
    "rt_sigprocmask", "rt_sigqueueinfo", "rt_sigreturn", "rt_sigsuspend", "rt_sigtimedwait", "sched_get_priority_max",
    "sched_get_priority_min", "sched_getaffinity", "sched_getparam", "sched_getscheduler", "sched_yield",
    "set_robust_list", "set_thread_area", "set_tid_address", "sigaltstack", "sigreturn", "sysinfo", "tgkill", "tkill",
    "ugetrlimit", "uname"};
// Of fcntl(2) and ioctl(2) what is asked by number: no leases, which keep other processes waiting, and nothing of a
// file system's own, which may reach files that are not to be seen.
constexpr std::array<scmp_datum_t, 19> fcntl_commands{
    F_DUPFD,      F_DUPFD_CLOEXEC, F_GETFD,       F_SETFD,       F_GETFL,           F_SETFL,     F_GETLK,
    F_SETLK,      F_SETLKW,        F_OFD_GETLK,   F_OFD_SETLK,   F_OFD_SETLKW,      F_ADD_SEALS, F_GET_SEALS,
    F_GETPIPE_SZ, F_SETPIPE_SZ,    F_GET_RW_HINT, F_SET_RW_HINT, F_GET_FILE_RW_HINT};
constexpr std::array<scmp_datum_t, 8> ioctl_requests{FICLONE, FICLONERANGE, FIONREAD, FIONBIO,
                                                     FIOCLEX, FIONCLEX,     TCGETS,   TIOCGWINSZ};
// To run a program, and what Go's runtime and skopeo call beside all that.
constexpr std::array program_calls{"alarm",
                                   "execve",
                                   "execveat",
                                   "fork",
                                   "getitimer",
                                   "pidfd_open",
                                   "pidfd_send_signal",
                                   "sched_setaffinity",
                                   "setitimer",
                                   "setpgid",
                                   "setpriority",
                                   "setrlimit",
                                   "setsid",
                                   "timer_create",
                                   "timer_delete",
                                   "timer_settime",
                                   "vfork",
                                   "wait4",
                                   "waitid",
                                   "waitpid"};
constexpr std::array internet_calls{"accept", "accept4", "bind", "connect", "listen", "recvmmsg", "sendmmsg"};
constexpr scmp_datum_t namespaces =
    CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;
constexpr scmp_datum_t low_word = 0xffffffff;  // the kernel looks at no more of a request
constexpr scmp_datum_t socket_type = 0xf;      // SOCK_TYPE_MASK of the kernel

class Filter {
public:
    template <typename Names>
    void allow(const Names& names) {
        for (const auto* name : names) filter_.add(SCMP_ACT_ALLOW, name);
    }
    template <typename... Conditions>
    void allow_if(const char* name, Conditions... conditions) {
        filter_.add(SCMP_ACT_ALLOW, name, conditions...);
    }
    // As a kernel does that does not have it.
    void without(const char* name) { filter_.add(SCMP_ACT_ERRNO(ENOSYS), name); }
    void load() const { filter_.load(); }

private:
    // Refused is EPERM: what falls back if a call is not to be had does so for that, too.
    SeccompFilter filter_{"system call filter", SCMP_ACT_ERRNO(EPERM)};
};

}  // namespace

void filter_system_calls(const SystemCalls& allowed) {
    Filter filter;
    filter.allow(job_calls);
    for (const auto command : fcntl_commands) {
        for (const auto* name : {"fcntl", "fcntl64"}) filter.allow_if(name, SCMP_A1(SCMP_CMP_EQ, command));
    }
    for (const auto request : ioctl_requests) filter.allow_if("ioctl", SCMP_A1(SCMP_CMP_MASKED_EQ, low_word, request));
    // Go's runtime goes on without.
    for (const auto* name : {"inotify_init", "inotify_init1"}) filter.without(name);
    // Its flags are in memory, where a filter cannot look; the C library falls back to clone.
    filter.without("clone3");
    if (allowed.programs) {
        filter.allow(program_calls);
        filter.allow_if("clone", SCMP_A0(SCMP_CMP_MASKED_EQ, namespaces, 0));
    } else {
        filter.allow_if("clone", SCMP_A0(SCMP_CMP_MASKED_EQ, namespaces | CLONE_THREAD, CLONE_THREAD));
    }
    // A pair of datagram sockets could be connected to something else.
    for (const scmp_datum_t type : {SOCK_STREAM, SOCK_SEQPACKET})
        filter.allow_if("socketpair", SCMP_A0(SCMP_CMP_EQ, static_cast<scmp_datum_t>(AF_UNIX)),
                        SCMP_A1(SCMP_CMP_MASKED_EQ, socket_type, type));
    // Pipes; no devices.
    filter.allow_if("mknodat", SCMP_A2(SCMP_CMP_MASKED_EQ, static_cast<scmp_datum_t>(S_IFMT), S_IFIFO));
    if (allowed.network != Network::none) {
        filter.allow(internet_calls);
        for (const scmp_datum_t family : {AF_INET, AF_INET6, AF_NETLINK})
            filter.allow_if("socket", SCMP_A0(SCMP_CMP_EQ, family));
        if (allowed.network == Network::local)
            filter.allow_if("socket", SCMP_A0(SCMP_CMP_EQ, static_cast<scmp_datum_t>(AF_UNIX)));
    }
    filter.load();
}

}  // namespace imaged
