// SPDX-License-Identifier: Apache-2.0
// Finds the layers in use: by every image, every deployment (ostree/0, ostree/1, rpmostree/base), every protected base
// (ostree/container/baseimage) and every kept version of an image (kept-ref.hpp). A layer that an alias names is in use
// too.
#pragma once

#include <map>
#include <set>
#include <string>

#include "oci/digest.hpp"
#include "store/repository/repository.hpp"

namespace imaged {

// Whether a job that changes an image may look at all others in its end: images and kept versions are not more than
// 500, which takes some 50 ms. What it leaves undone in a larger repository is done by the next prune or count. Only
// their names are looked at. Throws what keeps the system from listing them.
bool has_few_images(const Repository& repository);

// The refs that the layers of COMMIT's manifest may have; none without a manifest. Throws Error(repository_damaged),
// also for the nullopt of a broken ref.
std::set<std::string> layers_of_commit(const Repository& repository, const std::optional<Checksum>& commit);

struct LayerUse {
    std::set<std::string> used;  // refs of layers
    Refs unused;                 // of the others
    // Images that cannot be read, by reference, and why. It is not known which layers they need, so no layer
    // counts as unused then.
    std::map<std::string, std::string> damaged;

    // DROPPED are refs of kept versions that do not count. Throws what keeps the system from reading a ref or a commit
    // that may need layers; if there is UNREADABLE, such a ref is noted there, and no layer is unused.
    static LayerUse find(const Repository& repository, const Refs& dropped = {}, UnreadableRefs* unreadable = nullptr);
};

}  // namespace imaged
