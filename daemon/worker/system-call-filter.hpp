// SPDX-License-Identifier: Apache-2.0
// The system calls that a job does not take: refused from here on, to this process and all that it starts. It goes over
// whatever filter the process has already, the unit's.
#pragma once

namespace imaged {

enum class Network {
    none,  // sockets of this machine only (AF_UNIX)
    any,   // for a skopeo that is a child of the worker
};

// Throws Error(failed).
void filter_system_calls(Network network);

}  // namespace imaged
