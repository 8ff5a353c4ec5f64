// SPDX-License-Identifier: Apache-2.0
// Records that a prune found nothing to remove, so that the next one need not walk all images again.
//
// On disk: extensions/imaged/pruned, {"state": CHECKSUM, "objects": COUNT, "foreign-commits": COUNT}, replaced by
// rename(2). The state is a hash of all that a prune decides by: its options, the version of imaged, the deployments,
// and the stamps (base/file-stamp.hpp) of refs and of the directories of refs, objects, records of layers and marks of
// partial commits. If a program adds, removes or replaces anything there, or writes into a ref, a stamp changes; no
// program can set a stamp. An object that is overwritten in place changes no stamp: that makes no garbage, and `verify`
// finds it. The record is valid in this repository only, and optional: without it a prune examines everything. Nothing
// is removed because of it.
#pragma once

#include <cstdint>
#include <optional>

#include "base/checksum.hpp"
#include "store/repository/repository.hpp"
#include "store/upkeep/prune.hpp"

namespace imaged {

class PruneRecord {
public:
    // Looks at the repository: what is to be kept must be found out after this. Borrows the repository. Throws what the
    // system cannot read.
    PruneRecord(const Repository& repository, const PruneRequest& request);

    // Returns the counts of a prune that found nothing to remove or report, if nothing has changed since.
    std::optional<GarbageCounts> found() const;
    // Keeps that it found COUNTS. Has no effect if a change might not have shown, or if the record cannot be written.
    void keep(const GarbageCounts& counts) const noexcept;

private:
    const Repository& repository_;
    std::optional<Checksum> state_;  // none: the next change might leave the same one
};

}  // namespace imaged
