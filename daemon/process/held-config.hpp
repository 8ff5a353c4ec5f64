// SPDX-License-Identifier: Apache-2.0
// Stores the last valid configuration in the unit's state directory: imaged starts with it if the current one is
// invalid. Any thread; waits for the disk.
#pragma once

#include <string>

#include "base/error.hpp"
#include "process/command-line.hpp"

namespace imaged {

// The message of a running daemon that cannot take its new configuration because of ERROR and keeps the one it has.
std::string refused_config(const Error& error);

// Does what read_config() does, and keeps the result on disk; logs an error if it cannot.
ReadConfig read_and_hold_config(const CommandLine& line);

// The same. If it is invalid, returns the last valid configuration and the error. If none was kept, returns the
// defaults and requires signatures: the files may have demanded them. Throws Error(invalid_argument) if LINE itself is
// wrong.
ReadConfig config_to_start_with(const CommandLine& line);

}  // namespace imaged
