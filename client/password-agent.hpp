// SPDX-License-Identifier: Apache-2.0
// Runs pkttyagent, polkit's program that asks for a password on the terminal, for as long as a call may need it.
#pragma once

#include <memory>

#include "base/child-process.hpp"
#include "command-line.hpp"

namespace imagectl {

class PasswordAgent {
public:
    // Starts pkttyagent and waits until polkit knows it. Prints no message if it cannot be started: the error of a
    // refused call says that there was no agent.
    PasswordAgent();
    // Ends it, and waits for that.
    ~PasswordAgent();
    PasswordAgent& operator=(PasswordAgent&&) = delete;

private:
    imaged::ChildProcess process_;
};

// Whether ARGUMENTS, or else a terminal on standard input, allow that somebody is asked.
bool allows_dialogue(const Arguments& arguments);

// An agent if somebody may have to be asked at this terminal, else null: root is not asked, nobody is on a user's own
// bus, and on another machine it is that machine's agent that asks.
std::unique_ptr<PasswordAgent> password_agent(const Arguments& arguments);

}  // namespace imagectl
