// SPDX-License-Identifier: Apache-2.0
// A worker that an image has taken over: it confines itself as imaged-worker does, then tries what an attacker would
// try. Its result says of each attempt "done" or why it was not. The request's arguments name what there is to attack.
#include <dirent.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>

#include "base/error.hpp"
#include "base/file-descriptor.hpp"
#include "job/job.hpp"
#include "sandbox.hpp"

namespace {

using namespace imaged;

constexpr int channel = 3;

std::string read_line() {
    std::string line;
    for (char c = 0; ::read(channel, &c, 1) == 1;) {
        line += c;
        if (c == '\n') break;
    }
    return line;
}

class Attempts {
public:
    // TRY gives what a system call gives: a negative number is an error.
    void attempt(const std::string& name, const std::function<long()>& attempted) {
        errno = 0;
        results_[name] = attempted() < 0 ? std::string(errno != 0 ? ::strerrorname_np(errno) : "failed") : "done";
    }
    void note(const std::string& name, const std::string& value) { results_[name] = value; }
    const nlohmann::json& results() const { return results_; }

private:
    nlohmann::json results_ = nlohmann::json::object();
};

sockaddr_un address_of(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.c_str(), std::min(path.size() + 1, sizeof address.sun_path - 1));
    if (path.starts_with('@')) address.sun_path[0] = '\0';
    return address;
}

long connect_to(const std::string& path, int type) {
    const FileDescriptor file(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
    const auto address = address_of(path);
    return file ? ::connect(file.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) : -1;
}

long send_by_pair(const std::string& path) {
    int pair[2];
    if (::socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) != 0) return -1;
    const auto address = address_of(path);
    return ::sendto(pair[0], "x", 1, 0, reinterpret_cast<const sockaddr*>(&address), sizeof address);
}

long open_for(const std::string& path, int flags) {
    const FileDescriptor file(::open(path.c_str(), flags | O_CLOEXEC, 0600));
    return file ? 0 : -1;
}

void try_sockets(const job::Request& request, Attempts& attempts) {
    for (const auto* key : {"socket", "private-socket", "abstract-socket"}) {
        const auto path = request.text(key);
        attempts.attempt(std::string("connect ") + key, [&] { return connect_to(path, SOCK_STREAM); });
        attempts.attempt(std::string("packet ") + key, [&] { return connect_to(path, SOCK_SEQPACKET); });
        attempts.attempt(std::string("datagram ") + key, [&] { return send_by_pair(path); });
    }
    attempts.attempt("internet", [] { return ::socket(AF_INET, SOCK_STREAM, 0); });
    attempts.attempt("netlink", [] { return ::socket(AF_NETLINK, SOCK_RAW, 0); });
    attempts.attempt("vsock", [] { return ::socket(AF_VSOCK, SOCK_STREAM, 0); });
    std::string seen;
    if (auto* const list = ::opendir("/run")) {
        while (const auto* entry = ::readdir(list)) seen += std::string(entry->d_name) + " ";
        ::closedir(list);
    }
    attempts.note("run", seen);
}

// Every process but this one that /proc shows.
std::string foreign_processes() {
    std::string seen;
    auto* const list = ::opendir("/proc");
    if (list == nullptr) return seen;
    while (const auto* entry = ::readdir(list)) {
        const long number = std::strtol(entry->d_name, nullptr, 10);
        if (number > 0 && number != ::getpid()) seen += std::string(entry->d_name) + " ";
    }
    ::closedir(list);
    return seen;
}

void try_processes(const job::Request& request, Attempts& attempts) {
    // Never signals or traces anything when the sandbox did not hold: that would reach every process of the machine.
    if (::getpid() != 1) {
        attempts.note("signal all", "not tried: it is not the first process of a PID namespace");
        attempts.note("processes", foreign_processes());
        return;
    }
    attempts.note("processes", foreign_processes());
    const auto victim = static_cast<pid_t>(std::atoi(request.text("victim").c_str()));
    for (const pid_t process : {victim, ::getppid()}) {
        const std::string of = process == victim ? " victim" : " parent",
                          directory = "/proc/" + std::to_string(process);
        // The parent of a namespace's first process has the number 0 there, which means something else to kill(2).
        if (process > 0) attempts.attempt("signal" + of, [&] { return ::kill(process, 0); });
        attempts.attempt("trace" + of, [&] { return ::ptrace(PTRACE_ATTACH, process, nullptr, nullptr); });
        attempts.attempt("pidfd" + of, [&] { return ::syscall(SYS_pidfd_open, process, 0); });
        attempts.attempt("memory" + of, [&] { return open_for(directory + "/mem", O_RDWR); });
        attempts.attempt("descriptors" + of, [&] { return open_for(directory + "/fd", O_RDONLY | O_DIRECTORY); });
        attempts.attempt("root" + of, [&] { return open_for(directory + "/root/etc", O_RDONLY | O_DIRECTORY); });
        attempts.attempt("read memory" + of, [&] {
            char byte = 0;
            iovec ours{&byte, 1}, theirs{const_cast<int*>(&channel), 1};
            return ::process_vm_readv(process, &ours, 1, &theirs, 1, 0);
        });
    }
    // Its process group must be its own, or kill(0, …) would reach the parent.
    attempts.attempt("group of others", [] { return ::getpgrp() == ::getpid() ? (errno = ESRCH, -1) : 0; });
    ::signal(SIGUSR1, SIG_IGN);
    attempts.attempt("signal all", [] { return ::kill(-1, SIGUSR1); });
}

void try_files(const job::Request& request, Attempts& attempts) {
    const auto outside = request.text("outside"), config = request.repository + "/config";
    attempts.attempt("create outside", [&] { return open_for(outside + "/new", O_WRONLY | O_CREAT | O_EXCL); });
    attempts.attempt("write outside", [&] { return open_for(outside + "/there", O_WRONLY); });
    attempts.attempt("link outside", [&] { return ::link((outside + "/there").c_str(), (outside + "/link").c_str()); });
    attempts.attempt("write /etc", [] { return open_for("/etc/imaged-was-here", O_WRONLY | O_CREAT | O_EXCL); });
    attempts.attempt("write /run", [] { return open_for("/run/imaged-was-here", O_WRONLY | O_CREAT | O_EXCL); });
    attempts.attempt("core pattern", [] { return open_for("/proc/sys/kernel/core_pattern", O_WRONLY); });
    attempts.attempt("sysrq", [] { return open_for("/proc/sysrq-trigger", O_WRONLY); });
    attempts.attempt("write configuration", [&] { return open_for(config, O_WRONLY); });
    attempts.attempt("replace configuration", [&] {
        const auto forged = request.repository + "/tmp/forged";
        if (open_for(forged, O_WRONLY | O_CREAT) < 0) return -1;
        return ::rename(forged.c_str(), config.c_str());
    });
    attempts.attempt("remove configuration", [&] { return ::unlink(config.c_str()); });
    attempts.attempt("device", [&] { return ::mknod("/tmp/device", S_IFBLK | 0600, makedev(7, 0)); });
    for (const auto* device : {"/dev/mem", "/dev/sda", "/dev/vda", "/dev/loop0", "/dev/loop-control", "/dev/kmsg"})
        attempts.attempt(device, [&] { return open_for(device, O_RDWR); });
}

void try_system(Attempts& attempts) {
    attempts.attempt("mount", [] { return ::mount("tmpfs", "/tmp", "tmpfs", 0, nullptr); });
    attempts.attempt("remount", [] { return ::mount(nullptr, "/", nullptr, MS_REMOUNT | MS_BIND, nullptr); });
    attempts.attempt("unmount", [] { return ::umount2("/proc", MNT_DETACH); });
    attempts.attempt("unshare", [] { return ::unshare(CLONE_NEWUSER); });
    attempts.attempt("chroot", [] { return ::chroot("/tmp"); });
    attempts.attempt("bpf", [] { return ::syscall(SYS_bpf, BPF_MAP_CREATE, nullptr, 0); });
    attempts.attempt("io_uring", [] { return ::syscall(SYS_io_uring_setup, 1, nullptr); });
    attempts.attempt("userfaultfd", [] { return ::syscall(SYS_userfaultfd, 0); });
    attempts.attempt("keyring", [] { return ::syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_USER_KEYRING, 1); });
    attempts.attempt("shared memory", [] { return ::syscall(SYS_shmget, 1, 4096, 01600); });
    attempts.attempt("handle", [] { return ::syscall(SYS_open_by_handle_at, AT_FDCWD, nullptr, O_RDONLY); });
    attempts.attempt("program", [] {
        const pid_t child = ::fork();
        if (child == 0) ::_exit(0);
        return child;
    });
}

}  // namespace

int main() {
    ::prctl(PR_SET_DUMPABLE, 0);
    auto request = job::decode_request(read_line());
    job::Result result;
    Attempts attempts;
    try {
        confine(request);
        try_files(request, attempts);
        try_sockets(request, attempts);
        try_system(attempts);
        try_processes(request, attempts);
        result.outcome = job::Outcome::success;
        result.details = attempts.results();
    } catch (const std::exception& error) {
        result.outcome = job::Outcome::failed;
        result.error_name = "org.imaged1.Error.Failed";
        result.message = error.what();
    }
    const auto line = job::encode(job::Message(result));
    write_all(channel, std::as_bytes(std::span(line)), "send the result");
    ::_exit(0);
}
