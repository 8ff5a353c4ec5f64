// SPDX-License-Identifier: Apache-2.0
// Opens a repository that a caller names, for a copy: nothing in it may redirect imaged to another place.
#pragma once

#include <string>

#include "store/repository/repository.hpp"

namespace imaged {

enum class RepositoryUse { read, write };

// Opens the repository at PATH. Throws Error(not_found) if there is none, and Error(invalid_argument) if its
// configuration names a parent repository (core.parent), if its directories or its configuration are symbolic links,
// or, to be written, if another user owns it or may write to it.
Repository open_self_contained(const std::string& path, RepositoryUse use);

}  // namespace imaged
