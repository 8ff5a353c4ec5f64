// SPDX-License-Identifier: Apache-2.0
// Detects pipes in place of files of a repository, at which libostree would wait when it opens them.
#pragma once

#include <string>

#include "base/checksum.hpp"

namespace imaged {

// Throws Error(repository_damaged) where the object CHECKSUM below the directory OBJECTS is a pipe. SUFFIX: ".commit",
// ".filez" and so on.
void require_no_pipe(int objects, const Checksum& checksum, const std::string& suffix);

}  // namespace imaged
