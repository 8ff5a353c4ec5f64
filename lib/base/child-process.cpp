// SPDX-License-Identifier: Apache-2.0
#include "base/child-process.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <exception>
#include <initializer_list>

#include "base/error.hpp"
#include "base/socket-message.hpp"

namespace imaged {

namespace {

constexpr std::size_t max_failure_bytes = 1024;

// As execve(2) takes them.
std::vector<char*> null_terminated(std::vector<std::string>& texts) {
    std::vector<char*> pointers;
    for (auto& text : texts) pointers.push_back(text.data());
    pointers.push_back(nullptr);
    return pointers;
}

// In the child: failure() returns TEXT, then the text of errno NUMBER unless it is 0.
[[noreturn]] void fail(const FileDescriptor& report, std::initializer_list<const char*> text, int number = 0) {
    const auto say = [&](const char* part) {
        [[maybe_unused]] const auto written = ::write(report.get(), part, std::strlen(part));
    };
    for (const auto* part : text) say(part);
    if (number != 0) say(::strerrordesc_np(number));
    ::_exit(cannot_run);
}

// In the new process.
void begin(const Program& program, pid_t parent) {
    if (program.own_group) ::setpgid(0, 0);
    if (program.death_signal) {
        ::prctl(PR_SET_PDEATHSIG, *program.death_signal);
        if (::getppid() != parent) ::_exit(cannot_run);
    }
    if (program.fresh_signals) {
        for (int number = 1; number < NSIG; ++number) ::signal(number, SIG_DFL);
        sigset_t none;
        ::sigemptyset(&none);
        ::sigprocmask(SIG_SETMASK, &none, nullptr);
    }
    if (program.prepare) program.prepare();
}

}  // namespace

ChildProcess::ChildProcess(ChildProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      status_(std::exchange(other.status_, std::nullopt)),
      fd_(std::move(other.fd_)),
      report_(std::move(other.report_)) {}

ChildProcess& ChildProcess::operator=(ChildProcess&& other) noexcept {
    pid_ = std::exchange(other.pid_, -1);
    status_ = std::exchange(other.status_, std::nullopt);
    fd_ = std::move(other.fd_);
    report_ = std::move(other.report_);
    return *this;
}

ChildProcess ChildProcess::start(const Program& program, const std::string& what) {
    auto command = program.command;
    auto environment = program.environment.value_or(std::vector<std::string>());
    const auto arguments = null_terminated(command);
    const auto variables = null_terminated(environment);
    const auto& file = program.file ? *program.file : command.front();
    std::vector<int> kept{STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO};
    for (const auto& descriptor : program.descriptors) kept.push_back(descriptor.to);
    std::sort(kept.begin(), kept.end());
    // Above them all, so that no dup2(2) overwrites what another one still needs.
    std::vector<FileDescriptor> copies;
    for (const auto& descriptor : program.descriptors) {
        copies.emplace_back(::fcntl(descriptor.from, F_DUPFD_CLOEXEC, kept.back() + 1));
        if (!copies.back()) throw_errno(what);
    }
    auto [report, low] = make_socket_pair(SOCK_STREAM);
    const FileDescriptor reporting(::fcntl(low.get(), F_DUPFD_CLOEXEC, kept.back() + 1));
    if (!reporting) throw_errno(what);
    kept.push_back(reporting.get());
    const pid_t parent = ::getpid();
    auto child = copy(what);
    if (!child.is_copy()) {
        if (program.own_group) ::setpgid(child.pid(), child.pid());  // parent or child, the first to get here
        child.report_ = std::move(report);
        return child;
    }
    try {
        begin(program, parent);
    } catch (const std::exception& error) {
        fail(reporting, {error.what()});
    }
    for (std::size_t i = 0; i < copies.size(); ++i) {
        if (::dup2(copies[i].get(), program.descriptors[i].to) < 0) fail(reporting, {"dup2: "}, errno);
    }
    close_others(kept);
    ::execvpe(file.c_str(), arguments.data(), program.environment ? variables.data() : environ);
    fail(reporting, {"cannot run ", file.c_str(), ": "}, errno);
}

ChildProcess ChildProcess::copy(const std::string& what) {
    ChildProcess child;
    child.pid_ = ::fork();
    if (child.pid_ < 0) throw_errno(what);
    return child;
}

std::optional<std::string> ChildProcess::failure() const {
    std::array<char, max_failure_bytes> text;
    const auto size = ::recv(report_.get(), text.data(), text.size(), MSG_PEEK | MSG_DONTWAIT);
    return size > 0 ? std::optional(std::string(text.data(), static_cast<std::size_t>(size))) : std::nullopt;
}

int ChildProcess::fd() const {
    if (!fd_) {
        // By hand: the header of glibc 2.36 is not fit for C++.
        fd_.reset(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0U)));
        if (!fd_) throw_errno("pidfd_open");
    }
    return fd_.get();
}

void ChildProcess::signal(int number) const {
    if (*this) ::kill(pid_, number);
}

void ChildProcess::signal_group(int number) const {
    if (*this) ::kill(-pid_, number);
}

std::optional<int> ChildProcess::ended() {
    int status = 0;
    if (*this && ::waitpid(pid_, &status, WNOHANG) == pid_) status_ = status;
    return status_;
}

std::optional<int> ChildProcess::ended_within(std::chrono::milliseconds limit) {
    if (!status_) is_readable(fd(), static_cast<int>(limit.count()));
    return ended();
}

int ChildProcess::wait() {
    int status = 0;
    while (*this) {
        if (::waitpid(pid_, &status, 0) == pid_)
            status_ = status;
        else if (errno != EINTR)
            throw_errno("wait for a process");
    }
    return status_.value_or(0);
}

int ChildProcess::end() {
    signal(SIGKILL);
    return wait();
}

void close_others(std::span<const int> kept) {
    unsigned next = 0;
    for (const int descriptor : kept) {
        const auto number = static_cast<unsigned>(descriptor);
        if (number > next) ::close_range(next, number - 1, 0);
        next = number + 1;
    }
    ::close_range(next, ~0U, 0);
}

}  // namespace imaged
