// SPDX-License-Identifier: Apache-2.0
// Lists the commits in a repository that the deployments of its OSTree system need.
#pragma once

#include <map>
#include <string>

#include "base/checksum.hpp"
#include "store/repository/repository.hpp"

namespace imaged {

// Their commits, by the names of their directories (CHECKSUM.SERIAL), as far as they are there. They have refs, but
// libostree takes those of all deployments away for a moment whenever it adds or removes one, under no lock of the
// repository.
std::map<std::string, Checksum> deployed_commits(const Repository& repository);

}  // namespace imaged
