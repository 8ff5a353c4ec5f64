// SPDX-License-Identifier: Apache-2.0
// imaged's command line.
#pragma once

#include <chrono>
#include <string>
#include <vector>

namespace imaged {

struct CommandLine {
    enum class Mode { serve, help, version };

    Mode mode = Mode::serve;
    bool session = false;                   // a user's own bus: --session or --bus-address
    std::string bus_address;                // empty for the system's or the session's well-known bus
    std::string repository;                 // absolute path
    std::string worker;                     // absolute path
    std::chrono::seconds idle_timeout{60};  // 0: never leave
    std::vector<std::string> pass_environment;
    std::string log_level = "info";
};

// Throws Error(invalid_argument) naming what is wrong.
CommandLine parse_command_line(int count, char** arguments);
const char* usage();

}  // namespace imaged
