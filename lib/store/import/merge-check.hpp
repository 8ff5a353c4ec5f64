// SPDX-License-Identifier: Apache-2.0
// Checks whether the tree of a merge commit is the result of merging its layers.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/cancellation.hpp"
#include "layer/derived-layer.hpp"
#include "source/proxy/source-image.hpp"
#include "store/records/stored-image.hpp"
#include "store/repository/repository.hpp"

namespace imaged {

struct MergeDifference {
    // Paths whose content differs, the first of them, and how many there are. None: the merge is right.
    std::vector<std::string> entries;
    std::uint64_t entry_count = 0;
    // Directories that differ in nothing but mode, owner and attributes. Programs that keep those of the lowest layer
    // give such a merge.
    std::vector<std::string> directories;
    std::uint64_t directory_count = 0;
};

// Computes merges again; nothing of them stays. Belongs to one thread; borrows everything.
class MergeCheck {
public:
    MergeCheck(const Repository& repository, const Cancellation& cancellation)
        : repository_(repository), cancellation_(cancellation) {}

    // Merges IMAGE and compares. Throws Error(repository_damaged) if a layer cannot be read.
    MergeDifference run(const StoredImage& image);

private:
    const Repository& repository_;
    const Cancellation& cancellation_;
    // The files that relabelling writes: made once for many images.
    std::unique_ptr<StagingArea> staging_;
    std::optional<WriterPool> pool_;
};

// The same of one image.
MergeDifference check_merge(const Repository& repository, const StoredImage& image, const Cancellation& cancellation);

// Whether DIFFERENCE leaves the merge of IMAGE right. Only other programs' merges may differ, and in directories only.
bool is_sound(const MergeDifference& difference, const StoredImage& image);

// Rules by which the derived layers of a stored image were read: those of their records, or this host's. LAYERS:
// the commits of all layers.
DerivedLayerRules rules_of(const Repository& repository, const StoredImage& image, const std::vector<Checksum>& layers);

// Returns the image as an import would have read it from its source.
SourceImage as_source(const StoredImage& image);

}  // namespace imaged
