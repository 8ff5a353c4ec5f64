// SPDX-License-Identifier: Apache-2.0
// Finds the layers of an image that contain damaged objects, and their paths in its tree.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "base/cancellation.hpp"
#include "store/repository/repository.hpp"
#include "store/verify/repository-check.hpp"

namespace imaged {

struct FoundDamage {
    std::string object, fault;    // CHECKSUM.TYPE, "is corrupt"
    std::optional<Digest> layer;  // what add() was given
    std::optional<std::string> path;
};

class DamageSearch {
public:
    // Borrows everything.
    DamageSearch(const Repository& repository, RepositoryCheck& check, const Cancellation& cancellation)
        : repository_(repository), check_(check), cancellation_(cancellation) {}

    // Appends to FOUND what is wrong in COMMIT and was not found before; to what was found already it adds the path.
    // The paths of LAYER are the image's own only if HAS_PATHS. Returns whether an object that is there is wrong: such
    // a commit looks complete.
    bool add(const Checksum& commit, const std::optional<Digest>& layer, bool has_paths,
             std::vector<FoundDamage>& found);

private:
    const Repository& repository_;
    RepositoryCheck& check_;
    const Cancellation& cancellation_;
    std::unordered_map<std::string, std::size_t> places_;  // of each object in FOUND
};

}  // namespace imaged
