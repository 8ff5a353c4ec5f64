// SPDX-License-Identifier: Apache-2.0
// Installs a filter that refuses all system calls that a job does not need.
//
// The filter applies to this process and to all that it starts, in addition to the filter that the process already has
// (the unit's).
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
