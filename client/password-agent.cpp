// SPDX-License-Identifier: Apache-2.0
#include "password-agent.hpp"

#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.hpp"

namespace imagectl {

namespace {

// Milliseconds until polkit must know the agent; it takes some 50.
constexpr int start_limit = 5000;

// Whether logind knows a session that this process is in, so that a desktop may have an agent for it.
bool is_in_session() {
    const char* session = std::getenv("XDG_SESSION_ID");
    if (session == nullptr || *session == '\0' || std::string_view(session).find('/') != std::string_view::npos)
        return false;
    return ::access((std::string("/run/systemd/sessions/") + session).c_str(), F_OK) == 0;
}

}  // namespace

PasswordAgent::PasswordAgent() {
    try {
        auto [ready, theirs] = imaged::make_pipe();
        std::vector<std::string> command{"pkttyagent", "--notify-fd", "3"};
        // An agent of a desktop goes before this one. Outside of a session polkit does not look for one that gives way.
        if (is_in_session()) command.emplace_back("--fallback");
        // It closes its end when it is ready.
        process_ = imaged::ChildProcess::start(
            {.command = std::move(command), .descriptors = {{theirs.get(), 3}}, .death_signal = SIGTERM},
            "start an agent");
        theirs.reset();
        imaged::is_hung_up(ready.get(), start_limit);
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
