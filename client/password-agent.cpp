// SPDX-License-Identifier: Apache-2.0
#include "password-agent.hpp"

#include <poll.h>
#include <unistd.h>

#include <csignal>

#include "base/error.hpp"

namespace imagectl {

namespace {

// Milliseconds until polkit must know the agent; it takes some 50.
constexpr int start_limit = 5000;

}  // namespace

PasswordAgent::PasswordAgent() {
    try {
        auto [ready, theirs] = imaged::make_pipe();
        // It closes its end when it is ready. An agent of a desktop goes before this one.
        process_ = imaged::ChildProcess::start({.command = {"pkttyagent", "--notify-fd", "3", "--fallback"},
                                                .descriptors = {{theirs.get(), 3}},
                                                .death_signal = SIGTERM},
                                               "start an agent");
        theirs.reset();
        pollfd closed{ready.get(), 0, 0};
        ::poll(&closed, 1, start_limit);
    } catch (const imaged::Error&) {
        // The refusal of a call says that there was no agent.
    }
}

PasswordAgent::~PasswordAgent() {
    if (!process_) return;
    process_.signal(SIGTERM);
    process_.signal(SIGCONT);
    process_.wait();
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
