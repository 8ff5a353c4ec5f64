// SPDX-License-Identifier: Apache-2.0
// Checks that a path means the same place to the caller and to imaged.
//
// A container, or a unit with a private /tmp, has other files at the same path. So a caller may pass an open descriptor
// of what it sees there, and imaged compares.
#pragma once

#include <cstdint>
#include <string>

namespace imaged {

struct CallerPlace {
    std::string path;  // absolute
    // The file that the caller sees there, or the nearest directory above that the caller sees.
    std::uint64_t inode = 0;
    std::uint32_t device_major = 0, device_minor = 0;
};

// PATH and what is known of the file that the socket FILE, which is borrowed, stands for (base/kept-file.hpp); it may
// be one that only names (O_PATH). Throws Error(invalid_argument) or Error(queue_full) naming WHAT. Does not wait.
CallerPlace caller_place(const std::string& what, const std::string& path, int file);

// Throws Error(invalid_argument) if this process sees another file or directory than the caller. Waits for the disk.
void require_same_place(const CallerPlace& place);

}  // namespace imaged
