// SPDX-License-Identifier: Apache-2.0
// The system calls that a job takes; any other is refused from here on, to this process and all that it starts. It goes
// over whatever filter the process has already, the unit's.
#pragma once

namespace imaged {

enum class Network {
    none,      // no sockets but connected pairs
    internet,  // for a skopeo that is a child of the worker
    local,     // the same, and sockets of this machine (AF_UNIX)
};

struct SystemCalls {
    Network network = Network::none;
    bool programs = false;  // other programs may be run: skopeo
};

// Throws Error(failed).
void filter_system_calls(const SystemCalls& allowed);

}  // namespace imaged
