// SPDX-License-Identifier: Apache-2.0
// Removing images, and what only they needed.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/cancellation.hpp"
#include "oci/image-reference.hpp"
#include "store/garbage.hpp"
#include "store/repository.hpp"

namespace imaged {

struct PruneRequest {
    std::string repository;        // absolute path
    bool dry_run = false;          // only tell
    bool foreign_commits = false;  // also other tools' commits that no ref names
};

struct PruneOutcome {
    std::vector<std::string> layers;  // digests of those that no image uses
    GarbageCounts garbage;
    std::map<std::string, std::string>
        damaged;  // images that cannot be read, and why; no layer goes while there is one
};

// Layers that nobody uses lose their refs, then what nothing reaches goes. Waits for the repository's exclusive lock as
// long as the repository says (lock-timeout-secs).
PruneOutcome prune(const PruneRequest& request, const Cancellation& cancellation);

struct RemovedImage {
    std::string image;
    std::string digest;  // of its manifest; empty when it could not be read
};

struct RemoveOutcome {
    std::vector<RemovedImage> removed;
    std::vector<std::string> missing;  // not stored
    std::vector<std::string> layers;   // digests of those that no image uses any more
};

// Removes images and the refs of layers that nothing else uses; their objects go with the next prune.
RemoveOutcome remove_images(const std::string& repository, const std::vector<ImageReference>& images);

// Removes the refs of layers that nobody uses, after an image has changed. Returns their digests.
std::vector<std::string> drop_unused_layers(Repository& repository);

}  // namespace imaged
