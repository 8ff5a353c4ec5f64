// SPDX-License-Identifier: Apache-2.0
// Creates repositories without libostree: a confined job needs one before it confines itself.
#pragma once

#include <string>

namespace imaged {

// Whether something is at PATH that is to be opened as a repository: false if nothing is, for an empty directory,
// and for what an interrupted make_repository() left. Throws Error(repository_damaged) for what cannot be looked at.
bool is_repository(const std::string& path);

// Makes one where is_repository() is false: bare for root, bare-user for everybody else. Nobody else may enter it.
void make_repository(const std::string& path);

}  // namespace imaged
