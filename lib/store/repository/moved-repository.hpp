// SPDX-License-Identifier: Apache-2.0
// Checks whether a repository is still where it was opened: restored backups and unmounted file systems put another
// one, or none, at its path.
#pragma once

#include "store/repository/repository.hpp"

namespace imaged {

// Whether the repository's path still leads to it, and its objects directory is the one that is open. Thread-safe.
bool is_in_place(const Repository& repository);
// Throws Error(failed) otherwise. Repository::sync() calls it; a job that ends without sync() calls it before it
// reports success. Thread-safe.
void require_in_place(const Repository& repository);

}  // namespace imaged
