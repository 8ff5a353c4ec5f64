// SPDX-License-Identifier: Apache-2.0
// Reads directories of commits, one or all of a tree.
//
// Without recursion: the depth of a tree from elsewhere has no limit. Errors: Error(repository_damaged) for what is
// missing or broken.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "base/cancellation.hpp"
#include "base/tree-path.hpp"
#include "layer/dirtree.hpp"
#include "store/repository/repository.hpp"

namespace imaged {

// A directory, valid during the call that it is handed to.
struct TreePlace {
    const Checksum& tree;
    const Checksum& meta;
    const std::string& path;  // "usr/lib"; "" for the root
    std::size_t depth;        // 0 for the root

    // The path of what is called NAME here.
    std::string below(const std::string& name) const { return join_path(path, name); }
};

// Functions that a walk calls; each may be absent. An exception from one of them ends the walk.
struct TreeVisitor {
    // Before the directory is read; for those above it and those before it in the same directory first. False leaves
    // out what it has: a walk comes to each directory as often as the tree names it.
    std::function<bool(const TreePlace&)> enter;
    std::function<void(const TreePlace&, const DirectoryListing&)> list;
    // After everything below it.
    std::function<void(const TreePlace&)> leave;
    // The directory cannot be read, and is left out. Called where ERROR is being handled: throw; ends the walk, as it
    // does where this is not set.
    std::function<void(const TreePlace&, const Error& error)> unreadable;
};

// The bytes of a dirtree.
using TreeReader = std::function<std::string(const Checksum& tree)>;

// Goes through the directory with the dirtree TREE and the dirmeta META and all below it.
void walk_tree(const TreeReader& read, const Checksum& tree, const Checksum& meta, const TreeVisitor& visitor);
// The tree of a commit. Throws Error(cancelled) as well.
void walk_tree(const Repository& repository, const Repository::Commit& commit, const Cancellation& cancellation,
               const TreeVisitor& visitor);

DirectoryListing read_directory(const Repository& repository, const Checksum& tree);
// Text of the regular file PATH below the directory ROOT; nullopt if it, or a directory on the way, is absent, or it
// is longer than LIMIT.
std::optional<std::string> read_text(const Repository& repository, const Checksum& root, const std::string& path,
                                     std::size_t limit);

}  // namespace imaged
