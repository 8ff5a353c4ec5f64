// SPDX-License-Identifier: Apache-2.0
// Checks whether a process reads or writes anything, including sockets (proc(5), /proc/pid/io).
//
// A Go program that waits wakes itself up by reading and writing a few bytes of an eventfd or a pipe of its own,
// several times a second. So calls count only where they move more than that.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

namespace imaged {

class ProcessTraffic {
public:
    explicit ProcessTraffic(pid_t process);

    // Since it was asked last. False where the process cannot be looked at.
    bool has_moved();

private:
    const std::string path_;
    std::uint64_t bytes_ = 0, calls_ = 0;
};

}  // namespace imaged
