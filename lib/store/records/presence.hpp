// SPDX-License-Identifier: Apache-2.0
// Checks whether commits are complete: every directory and file object that a commit reaches. What was found complete
// once is not looked at again, across jobs while no object comes or goes.
//
// Looks at names only; that the bytes under a name are right was verified when they were written. Belongs to one
// thread; borrows the repository.
#pragma once

#include <unordered_set>

#include "base/cancellation.hpp"
#include "store/objects/object-names.hpp"
#include "store/repository/completeness-record.hpp"
#include "store/repository/repository.hpp"

namespace imaged {

class Presence {
public:
    Presence(const Repository& repository, const Cancellation& cancellation);

    // False for a commit that is missing, unreadable or incomplete. Throws Error(cancelled) only.
    bool complete(const Checksum& commit);
    // Lets later jobs know what was found complete, as far as this one asked.
    void remember() const { record_.keep(commits_); }

private:
    // Throws Error(repository_damaged) unless all of it is there.
    void require_tree(const Repository::Commit& commit);
    bool has_file(const Checksum& file);
    bool meta_present(const Checksum& meta);

    const Repository& repository_;
    const Cancellation& cancellation_;
    const CompletenessRecord record_;
    ObjectNames names_;
    std::unordered_set<Checksum> trees_, metas_, commits_;
};

}  // namespace imaged
