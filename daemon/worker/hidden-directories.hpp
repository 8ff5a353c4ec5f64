// SPDX-License-Identifier: Apache-2.0
// Hides the content of directories that a job does not need, in its own mount namespace.
#pragma once

#include <string>
#include <vector>

#include "base/file-descriptor.hpp"

namespace imaged {

// Mounts REPLACEMENT, a directory as a mount in no namespace, or else an empty directory on DIRECTORY, which is an
// absolute path without symbolic links; and on its place in it each of KEPT that is there and lies below DIRECTORY.
// Symbolic links that lie there on the way to one of KEPT are made anew. Throws Error(failed).
void hide_directory(const std::string& directory, const std::vector<std::string>& kept,
                    const FileDescriptor& replacement = {});

}  // namespace imaged
