// SPDX-License-Identifier: Apache-2.0
// Removes images and prunes the repository. The kept versions of an image (kept-ref.hpp) are removed after the image,
// so that a removal that fails removes none of them; the next prune removes those that are left.
//
// The refs of layers that no image, deployment or protected base uses are removed first, in prune() or, in a repository
// with few images (layer-use.hpp), before. Objects are removed after them, only in prune(). Crash rule: refs are
// removed before the objects that they name, commits before their parts.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/cancellation.hpp"
#include "oci/image-reference.hpp"
#include "store/repository/repository.hpp"
#include "store/upkeep/garbage.hpp"
#include "store/upkeep/layer-use.hpp"

namespace imaged {

struct PruneRequest {
    std::string repository;        // absolute path
    bool dry_run = false;          // only count
    bool foreign_commits = false;  // also other tools' commits that no ref names
    unsigned keep = 0;             // versions of an image, beside the current one
};

struct PruneOutcome {
    std::vector<std::string> layers;  // digests of those that no image uses
    GarbageCounts garbage;
    // Bytes on disk that are freed: objects, refs, and files of killed jobs. A dry run and the run after it report the
    // same number.
    std::uint64_t bytes = 0;
    // Images and refs that cannot be read, and why. While the manifest of an image is among them, no layer
    // is removed.
    std::map<std::string, std::string> damaged;
    // An earlier prune had nothing to do, and nothing has changed since but what killed jobs left (prune-record.hpp).
    bool is_as_before = false;
};

// Holds the repository's exclusive lock; throws Error(failed) when other programs keep it from that for too long.
PruneOutcome prune(const PruneRequest& request, const Cancellation& cancellation, WorkObserver& observer);

// The refs that a prune drops: of layers that nobody uses, and of kept versions beyond KEEP of an image.
struct UnneededRefs {
    LayerUse use;
    Refs refs;

    static UnneededRefs find(const Repository& repository, unsigned keep);
};

// Adds to USAGE what a prune removes besides objects: UNNEEDED refs and what killed jobs left behind; and records of
// commits that are gone or go with REMOVED.
void usage_of_leftovers(const Repository& repository, const UnneededRefs& unneeded, DiskUsage& usage);
void usage_of_records(const Repository& repository, const std::set<Checksum>& removed, DiskUsage& usage);

struct RemovedImage {
    ImageReference image;
    std::optional<std::string> digest;  // of its manifest; nullopt if it cannot be read
};

struct RemoveOutcome {
    std::vector<RemovedImage> removed;
    std::vector<ImageReference> missing;  // not stored
    std::vector<std::string> layers;      // digests of those that no image uses any more
};

// Removes images and, if they are few, the refs of layers that nothing else uses; their objects go with the next prune.
RemoveOutcome remove_images(const std::string& repository, const std::vector<ImageReference>& images,
                            const Cancellation& cancellation);

// After an image has changed: drops kept versions beyond KEEP of each image, then, if images are few, the refs of
// layers that nobody uses any more. Returns their digests; nothing is removed while another program works in the
// repository, which may be about to name them.
//
// A base commit keeps its ref until prune(): without, nothing would show that it came from an image.
std::vector<std::string> drop_unused_layers(const std::string& repository, unsigned keep);

}  // namespace imaged
