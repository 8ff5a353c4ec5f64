// SPDX-License-Identifier: Apache-2.0
// The configuration that held last, in the state directory of the unit: an imaged whose configuration cannot be taken
// starts with it, so that a mistake in a file shuts nobody out. Any thread; waits for the disk.
#pragma once

#include <string>

#include "base/error.hpp"
#include "process/command-line.hpp"

namespace imaged {

// What a daemon that runs says where it cannot take its configuration for ERROR, and goes on with the one it has.
std::string refused_config(const Error& error);

// As read_config(), and keeps it; what cannot be written is logged.
ReadConfig read_and_hold_config(const CommandLine& line);

// The same; where it cannot be taken, what held last, with what is wrong and what holds. Where nothing is known of
// that, the defaults, and images need a signature: the files may have demanded one. Throws Error(invalid_argument) for
// what LINE itself says.
ReadConfig config_to_start_with(const CommandLine& line);

}  // namespace imaged
