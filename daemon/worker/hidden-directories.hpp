// SPDX-License-Identifier: Apache-2.0
// Replaces directories that are full of sockets and devices by empty ones, in a mount namespace of the job's own.
#pragma once

#include <string>
#include <vector>

namespace imaged {

// Mounts an empty directory on DIRECTORY, and on its places in it those of KEPT that are there and lie below it. Paths
// are absolute and without symbolic links. Throws Error(failed).
void hide_directory(const std::string& directory, const std::vector<std::string>& kept);

}  // namespace imaged
