// SPDX-License-Identifier: Apache-2.0
// Counts the disk usage of images, deployments, refs of other programs and commits without a ref.
//
// Counts all objects of the repository (object-graph.hpp) by the rules of prune.hpp: the unique size of an image is
// what its removal and a prune after that free.
//
// Bytes are allocated blocks of objects (st_blocks * 512), the blocks of a file with several links once. A file with
// links elsewhere is unique to none. Refs, records, directories and the repository's other files do not count.
//
// The number is for people and is never used to remove anything.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/cancellation.hpp"
#include "store/files/repository-writer.hpp"
#include "store/records/usage-record.hpp"
#include "store/repository/work-observer.hpp"

namespace imaged {

enum class UserKind { image, deployment, ref, commits };

// What one user of a repository needs, or all of a kind.
struct UsageOfUser {
    UserKind kind = UserKind::image;
    // An image, with the versions that are kept of it; directories of deployments, with ", " between those of one
    // commit; a ref, "REMOTE:NAME" of a remote; empty for all commits without a ref.
    std::string name;
    UsageRecord::Size size;
    std::string damage;  // the parts that cannot be read; they are not counted
};

struct Usage {
    std::vector<UsageOfUser> users;               // images first
    std::map<UserKind, UsageRecord::Size> kinds;  // the size of all users of a kind together
    std::uint64_t bytes = 0, objects = 0;         // size and number of all objects
    std::uint64_t prunable = 0;                   // bytes that prune() would free, also with refs and records
    std::uint64_t unnamed_commits = 0;            // commits that no ref reaches and that a prune keeps
};

// Counts, and keeps a record of the images' sizes. Holds the repository's lock, shared, so that nothing is removed
// meanwhile. KEEP: versions of an image besides the current one. WRITER writes the record; if it is null, this process
// does. Returns an empty usage if there is no repository. Throws Error(repository_damaged), Error(cancelled), and
// Error(failed) if other programs hold the lock.
Usage count_usage(const std::string& repository, unsigned keep, std::shared_ptr<RepositoryWriter> writer,
                  const Cancellation& cancellation, WorkObserver& observer);

// How a count uses the kept facts about objects (object-facts.hpp) and refs (ref-state.hpp). KNOWN: uses them. AFRESH:
// reads everything again, since only that finds hard links that other programs made or removed. UNCHANGED: no object
// was added or removed; counts only if the record belongs to other refs than those that are there.
enum class FactsUse { known, afresh, unchanged };

// Counts the images at the end of a job that changed some, and keeps the record. Does not count if that fails, if other
// programs hold the lock, or if the repository is so large that the job would wait: it has more than 250,000 objects
// or, with known facts, many images (layer-use.hpp).
void recount_images(const std::string& repository, unsigned keep, FactsUse use,
                    const Cancellation& cancellation) noexcept;

}  // namespace imaged
