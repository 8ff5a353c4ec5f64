// SPDX-License-Identifier: Apache-2.0
#include "base/child-process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <string_view>

#include "base/error.hpp"

namespace imaged {

namespace {

// As execve(2) takes them.
std::vector<char*> null_terminated(std::vector<std::string>& texts) {
    std::vector<char*> pointers;
    for (auto& text : texts) pointers.push_back(text.data());
    pointers.push_back(nullptr);
    return pointers;
}

void say(std::string_view text) {
    [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text.data(), text.size());
}

// In the new process.
void begin(const Program& program, pid_t parent) {
    if (program.own_group) ::setpgid(0, 0);
    if (program.death_signal != 0) {
        ::prctl(PR_SET_PDEATHSIG, program.death_signal);
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
      fd_(std::move(other.fd_)) {}

ChildProcess& ChildProcess::operator=(ChildProcess&& other) noexcept {
    pid_ = std::exchange(other.pid_, -1);
    status_ = std::exchange(other.status_, std::nullopt);
    fd_ = std::move(other.fd_);
    return *this;
}

ChildProcess ChildProcess::start(const Program& program, const std::string& what) {
    auto command = program.command;
    auto environment = program.environment.value_or(std::vector<std::string>());
    const auto arguments = null_terminated(command);
    const auto variables = null_terminated(environment);
    const auto& file = program.file.empty() ? command.front() : program.file;
    std::vector<int> kept{STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO};
    for (const auto& descriptor : program.descriptors) kept.push_back(descriptor.to);
    std::sort(kept.begin(), kept.end());
    // Above them all, so that no dup2(2) overwrites what another one still needs.
    std::vector<FileDescriptor> copies;
    for (const auto& descriptor : program.descriptors) {
        copies.emplace_back(::fcntl(descriptor.from, F_DUPFD_CLOEXEC, kept.back() + 1));
        if (!copies.back()) throw_errno(what);
    }
    const pid_t parent = ::getpid();
    auto child = copy(what);
    if (!child.is_copy()) {
        if (program.own_group) ::setpgid(child.pid(), child.pid());  // parent or child, the first to get here
        return child;
    }
    begin(program, parent);
    for (std::size_t i = 0; i < copies.size(); ++i) {
        if (::dup2(copies[i].get(), program.descriptors[i].to) < 0) ::_exit(cannot_run);
    }
    close_others(kept);
    ::execvpe(file.c_str(), arguments.data(), program.environment ? variables.data() : environ);
    if (program.says_why) {
        for (const auto* part : {"cannot run ", file.c_str(), ": ", ::strerrordesc_np(errno), "\n"}) say(part);
    }
    ::_exit(cannot_run);
}

ChildProcess ChildProcess::copy(const std::string& what) {
    ChildProcess child;
    child.pid_ = ::fork();
    if (child.pid_ < 0) throw_errno(what);
    return child;
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
    pollfd ready{status_ ? -1 : fd(), POLLIN, 0};
    if (!status_) ::poll(&ready, 1, static_cast<int>(limit.count()));
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
