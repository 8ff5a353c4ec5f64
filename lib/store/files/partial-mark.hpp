// SPDX-License-Identifier: Apache-2.0
// libostree's mark of commits that lack objects: ostree pull makes it for a commit that is to be pulled in part or is
// not whole yet, ostree fsck for one that has lost something. `ostree fsck` fails for as long as a mark is there, even
// if the commit is whole again.
//
// On disk: state/CHECKSUM.commitpartial. REPOSITORY is the repository's directory.
#pragma once

#include <string>

#include "base/checksum.hpp"

namespace imaged {

std::string partial_mark(const Checksum& commit);
bool has_partial_mark(int repository, const Checksum& commit);
// Removes the mark of a commit that is whole. Has no effect if there is none; throws a system error.
void remove_partial_mark(int repository, const Checksum& commit);

}  // namespace imaged
