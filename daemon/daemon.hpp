// SPDX-License-Identifier: Apache-2.0
// Runs imaged: connects to the bus, registers the objects, claims the name, serves, and exits when it is idle or gets a
// signal. SIGHUP reads the configuration again.
#pragma once

#include "process/command-line.hpp"

namespace imaged {

// Returns the exit status. Throws Error when the bus cannot be reached or the name is taken.
int serve(const CommandLine& line, const ReadConfig& read);

}  // namespace imaged
