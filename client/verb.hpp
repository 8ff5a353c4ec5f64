// SPDX-License-Identifier: Apache-2.0
// The verbs of imagectl: each one's help and what it does, in a file of commands/ that is named in meson.build.
#pragma once

#include "bus/exit-code.hpp"
#include "command-line.hpp"

namespace imagectl {

struct Verb {
    VerbHelp help;
    ExitCode (*run)(const Arguments& arguments);  // may throw UsageError and BusError
};

}  // namespace imagectl

#include "verbs.hpp"
