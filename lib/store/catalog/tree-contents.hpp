// SPDX-License-Identifier: Apache-2.0
// Lists the packages, kernels and /etc files of a tree. The tree is not trusted: a database that cannot be read, or is
// too large, is listed as unread.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/cancellation.hpp"
#include "packages/package.hpp"
#include "store/catalog/content-tree.hpp"
#include "store/repository/repository.hpp"

namespace imaged {

struct UnreadDatabase {
    PackageFormat format = PackageFormat::dpkg;
    std::string path;   // in the image's own tree
    std::string error;  // why
};

struct TreeContents {
    PackageSet packages;
    std::vector<UnreadDatabase> unread;
    std::set<std::string> kernels;  // the names of the directories with kernel modules
    std::optional<Checksum> etc;    // the dirtree of /etc
};

// Returns the contents of TREE, without /etc. Throws what TREE throws but for the image's faults, and Error(cancelled).
TreeContents read_contents(const ContentTree& tree, const Cancellation& cancellation);
// TREE is the root of a commit. Throws Error(repository_damaged) for objects that are missing or broken, and
// Error(cancelled).
TreeContents read_contents(const Repository& repository, const Checksum& tree, const Cancellation& cancellation);

}  // namespace imaged
