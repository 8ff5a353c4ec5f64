// SPDX-License-Identifier: Apache-2.0
// Records which commits were complete at the last full check, so that an unchanged pull need not check tens of
// thousands of objects again.
//
// On disk: extensions/imaged/complete in the repository. A line with the state of the object directories, one with the
// checksum of each commit, and a last line "end". The state is the SHA-256 of inode and ctime of objects/00 to
// objects/ff: a directory whose ctime is the same has the same names in it, since a program that adds or removes an
// object changes the ctime, and nobody can set it. A ctime younger than a few seconds is not relied on, as a second
// change may have come within the clock's resolution. So the record counts until the next pull or prune, and for the
// repository itself and no copy of it. It is never needed: what is missing, old or broken only costs time.
#pragma once

#include <optional>
#include <unordered_set>

#include "base/checksum.hpp"
#include "store/repository/repository.hpp"

namespace imaged {

class CompletenessRecord {
public:
    // Looks at the directories: what is to be kept must be found out after this. Borrows the repository.
    explicit CompletenessRecord(const Repository& repository);

    bool holds(const Checksum& commit) const { return complete_.contains(commit); }
    // Records that exactly COMMITS were found complete. Has no effect if the directories changed too recently, or if
    // the record cannot be written.
    void keep(const std::unordered_set<Checksum>& commits) const;

private:
    const Repository& repository_;
    std::optional<Checksum> state_;
    bool settled_ = false;
    std::unordered_set<Checksum> complete_;
};

}  // namespace imaged
