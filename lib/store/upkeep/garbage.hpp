// SPDX-License-Identifier: Apache-2.0
// Deletes unreachable objects: walks everything that refs and other programs' commits reach, and deletes commits first,
// so that a crash never leaves a commit without its parts.
//
// If an object that a ref reaches cannot be read, the objects that it references are not known. Then an object is
// removed only if a commit that is removed is known to reach it.
//
// The caller holds the repository's exclusive lock. Memory grows with eight bytes an object.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/cancellation.hpp"
#include "base/checksum.hpp"
#include "store/repository/disk-usage.hpp"
#include "store/repository/repository.hpp"
#include "store/repository/work-observer.hpp"

namespace imaged {

struct GarbageCounts {
    std::uint64_t objects = 0;  // that went
    std::uint64_t commits = 0;  // of them
    std::set<Checksum> removed_commits;
    std::uint64_t objects_total = 0;
    std::uint64_t foreign_commits = 0;  // kept although no ref names them
    // Refs that name something unreadable, and what it is.
    std::map<std::string, std::string> damaged;
    // Directories with names of objects, which stay: some, below the objects directory.
    std::set<std::string> directories;
};

struct GarbageRules {
    bool dry_run = false;
    // Also commits that no ref names and that are not known to have come from an image.
    bool foreign_commits = false;
    // Refs that count as gone already, and the commits that are known to have come from images although they do not
    // show it.
    std::set<std::string> ignored_refs;
    std::set<Checksum> image_commits;
    // Called when all that stays is known, before anything is removed.
    std::function<void()> before_removal;
};

// What is freed is added to USAGE. Cancelling it half-way leaves garbage for the next time, and nothing that is
// incomplete.
GarbageCounts collect_garbage(const Repository& repository, const GarbageRules& rules, DiskUsage& usage,
                              const Cancellation& cancellation, WorkObserver& observer);

// Whether a commit shows that it came from an image: a merge commit, a derived layer, or a chunk. The base commit of an
// image shows nothing. Throws Error(repository_damaged) where that cannot be read.
bool came_from_image(const Repository& repository, const Repository::Commit& commit);

}  // namespace imaged
