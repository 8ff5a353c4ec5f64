// SPDX-License-Identifier: Apache-2.0
// Lists the blobs that have a ref in one of the directories of layer refs (ref-name.hpp).
//
// Reads only the names, not the commits that the refs name: in a repository with many images that is a small part of
// the work of RefListing. The directory is read again only if its modification time has changed.
//
// Belongs to one thread; borrows the descriptor.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "base/checksum.hpp"
#include "base/file-stamp.hpp"

namespace imaged {

class LayerNames {
public:
    // REPOSITORY is the repository's directory, DIRECTORY one of layer_ref_directories.
    LayerNames(int repository, const std::string& directory)
        : repository_(repository), path_("refs/heads/" + directory) {}

    // Looks for changes. True if there are any since the last time. Throws a system error.
    bool refresh();
    // Whether a blob that had a ref before the last refresh() has none any more.
    bool lost_any() const { return lost_; }
    bool contains(const Checksum& blob) const { return std::binary_search(blobs_.begin(), blobs_.end(), blob); }

private:
    std::vector<Checksum> read() const;

    const int repository_;
    const std::string path_;
    DirectoryStamp directory_;
    bool lost_ = false;
    std::vector<Checksum> blobs_;  // in order
};

}  // namespace imaged
