// SPDX-License-Identifier: Apache-2.0
// Objects that nothing needs: found by walking everything that refs and other tools' commits reach, and removed commits
// first, so that a crash never leaves a commit without its parts.
//
// The caller holds the repository's exclusive lock. Memory grows with eight bytes an object.
#pragma once

#include <cstdint>
#include <set>
#include <string>

#include "base/cancellation.hpp"
#include "base/checksum.hpp"
#include "store/repository.hpp"

namespace imaged {

struct GarbageCounts {
    std::uint64_t objects = 0;
    std::uint64_t bytes = 0;  // of objects that no deployment or copy shares by a hard link
    std::uint64_t objects_total = 0;
    std::uint64_t foreign_commits = 0;  // kept although no ref names them
};

struct GarbageRules {
    bool dry_run = false;
    // Also commits that no ref names and that are not known to have come from an image.
    bool foreign_commits = false;
    // Refs that count as gone already, and the commits that are known to have come from images although they do not
    // show it.
    std::set<std::string> ignored_refs;
    std::set<Checksum> image_commits;
};

// Throws Error(cancelled) before anything is removed, never after.
GarbageCounts collect_garbage(const Repository& repository, const GarbageRules& rules,
                              const Cancellation& cancellation);

}  // namespace imaged
