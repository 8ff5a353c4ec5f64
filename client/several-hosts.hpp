// SPDX-License-Identifier: Apache-2.0
// Runs one verb on several hosts at the same time, each in its own process, and prefixes its output with the host's
// name.
#pragma once

#include <functional>

#include "command-line.hpp"

namespace imagectl {

// Runs VERB for each of the hosts of ARGUMENTS, with ARGUMENTS of its own, and waits for all. Returns the highest exit
// code. VERB returns an exit code after it has printed its errors. Lines of output and errors begin with the host's
// name; with JSON each host is one line, {"host", "exit-code", "result"}. On a terminal each host that runs has a line
// that shows its progress. The signals that end imagectl are passed on. Call it before any use of GLib, because it
// forks.
int run_on_hosts(const Arguments& arguments, const std::function<int(const Arguments&)>& verb);

}  // namespace imagectl
