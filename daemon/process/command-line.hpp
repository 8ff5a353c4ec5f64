// SPDX-License-Identifier: Apache-2.0
// Parses imaged's command line.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "process/config.hpp"

namespace imaged {

// With this option and the repository's path imaged starts itself as the process that reads the repository.
inline constexpr const char* reader_option = "--read-for-imaged";

struct CommandLine {
    enum class Mode { serve, read, check_config, metrics, help, version };

    Mode mode = Mode::serve;
    bool session = false;                     // a user's own bus: --session or --bus-address
    std::optional<std::string> bus_address;   // of another bus than the system's or the session's well-known one
    std::string worker;                       // absolute path
    bool confined = false;                    // the worker gives up what its job does not need
    std::optional<std::string> proxy_socket;  // of the service that talks to registries
    std::string metrics;                      // the file that Mode::metrics prints
    std::optional<std::string> config;        // a file to read in place of the system's

    // These override the configuration.
    std::optional<std::string> repository;  // absolute path
    std::optional<std::string> sysroot;     // likewise
    std::optional<std::chrono::seconds> idle_timeout;
    std::optional<std::string> log_level;
    std::vector<std::string> pass_environment;
};

// Throws Error(invalid_argument) naming what is wrong.
CommandLine parse_command_line(int count, char** arguments);
const char* usage();

// The configuration that holds with LINE: of the files it names, else on the system bus those of the system, and over
// them what LINE says itself. Throws as parse_config and its files do.
ReadConfig read_config(const CommandLine& line);
// The same of FILES.
ReadConfig read_config(const CommandLine& line, const std::vector<ConfigFile>& files);

}  // namespace imaged
