// SPDX-License-Identifier: Apache-2.0
// The life of imaged: connect, offer the objects, claim the name, serve, and leave when nothing is left to do or a
// signal says so. SIGHUP reads the configuration again.
#pragma once

#include "process/command-line.hpp"

namespace imaged {

// Returns the exit status. Throws Error when the bus cannot be reached or the name is taken.
int serve(const CommandLine& line, const ReadConfig& read);

}  // namespace imaged
