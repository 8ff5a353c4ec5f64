// SPDX-License-Identifier: Apache-2.0
#include "password-agent.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <string>

namespace imagectl {

namespace {

// Milliseconds until polkit must know the agent; it takes some 50.
constexpr int start_limit = 5000;

}  // namespace

PasswordAgent::PasswordAgent() {
    std::array<int, 2> pipe{};
    if (::pipe2(pipe.data(), O_CLOEXEC) < 0) return;
    const auto number = std::to_string(pipe[1]);
    const pid_t parent = ::getpid();
    process_ = ::fork();
    if (process_ == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGTERM);
        // pkttyagent closes it when it is ready. An agent of a desktop goes before this one.
        if (::getppid() == parent && ::fcntl(pipe[1], F_SETFD, 0) == 0)
            ::execlp("pkttyagent", "pkttyagent", "--notify-fd", number.c_str(), "--fallback", nullptr);
        ::_exit(127);
    }
    ::close(pipe[1]);
    pollfd ready{pipe[0], 0, 0};
    if (process_ > 0) ::poll(&ready, 1, start_limit);
    ::close(pipe[0]);
}

PasswordAgent::~PasswordAgent() {
    if (process_ <= 0) return;
    ::kill(process_, SIGTERM);
    ::kill(process_, SIGCONT);
    ::waitpid(process_, nullptr, 0);
}

bool allows_dialogue(const Arguments& arguments) {
    return arguments.interactive.value_or(::isatty(STDIN_FILENO) != 0);
}

std::unique_ptr<PasswordAgent> password_agent(const Arguments& arguments) {
    const bool asks = allows_dialogue(arguments) && ::isatty(STDIN_FILENO) != 0;
    if (!asks || ::geteuid() == 0 || arguments.bus.kind != Bus::Kind::system) return nullptr;
    return std::make_unique<PasswordAgent>();
}

}  // namespace imagectl
