// SPDX-License-Identifier: Apache-2.0
// Reads and checks imaged's configuration, imaged.conf(5).
//
// An unknown section or key is a warning, so that a file for a newer imaged does not stop an older one; a value that
// makes no sense is an error. Both name file and line.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "job/settings.hpp"
#include "process/config-files.hpp"

namespace imaged {

struct Config {
    std::string repository;                 // absolute path; empty: where it is by default
    std::string sysroot;                    // likewise
    std::chrono::seconds idle_timeout{60};  // 0: never leave
    std::string log_level = "info";
    std::vector<std::string> pass_environment;
    std::size_t queued_jobs = 256;          // waiting jobs in all
    std::size_t queued_jobs_per_user = 32;  // waiting jobs that one user started
    job::Settings jobs{.retries = 2, .keep = 1};
};

struct ReadConfig {
    Config config;
    std::string text;  // what the files say, as to_text()
    std::vector<std::string> warnings;
    std::optional<std::string> error;  // why the files are not taken, and CONFIG is what held before
};

// Reads FILES; later files override earlier ones. Throws Error(invalid_argument) that begins with file and line.
ReadConfig parse_config(const std::vector<ConfigFile>& files);

// "info" and so on as it is; anything else is Error(invalid_argument).
std::string known_log_level(const std::string& level);
// A name that a variable of the environment can have; anything else is Error(invalid_argument).
std::string variable_name(const std::string& name);

// CONFIG as a file that would say the same, every key of it: what `imaged --check-config` prints.
std::string to_text(const Config& config);

}  // namespace imaged
