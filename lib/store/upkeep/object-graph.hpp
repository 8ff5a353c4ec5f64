// SPDX-License-Identifier: Apache-2.0
// The objects of a repository with the bytes that each takes on disk, and which objects each of them names. For
// counting: one pass over the object directories reads it, so it costs one lstat(2) for each object and one read for
// each directory and commit.
//
// Bytes are allocated blocks (st_blocks * 512). An object with several hard links has none itself: a further node,
// which all objects that are links to the same file name, has them.
//
// Immutable once read. Memory grows with about a hundred bytes an object, most of them given back when it is read.
// Objects of a parent repository (core.parent) are not in the graph. Errors: Error(cancelled), and what the system
// cannot read.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/cancellation.hpp"
#include "base/checksum.hpp"
#include "store/repository/repository.hpp"
#include "store/repository/work-observer.hpp"

namespace imaged {

enum class ObjectKind : std::uint8_t { file, dirtree, dirmeta, commit, metadata, compat_metadata, other, shared_file };

class ObjectGraph {
public:
    using Node = std::uint32_t;

    // OBSERVER is told of directories.
    static ObjectGraph read(const Repository& repository, const Cancellation& cancellation, WorkObserver& observer);

    std::size_t size() const { return bytes_.size(); }
    std::uint64_t bytes(Node node) const { return bytes_[node]; }
    ObjectKind kind(Node node) const;
    // What NODE names and is there: the root, the metadata and the parent of a commit, the entries of a directory.
    std::span<const Node> below(Node node) const {
        return std::span(below_).subspan(first_[node], first_[node + 1] - first_[node]);
    }
    // Whether NODE is a directory or a commit that cannot be read, or names a directory that is missing.
    bool is_broken(Node node) const { return broken_[node]; }
    // Whether NODE is a file with hard links outside of the repository's objects: removing those here frees nothing.
    bool is_linked_elsewhere(Node node) const { return linked_elsewhere_[node]; }

    std::optional<Node> find_commit(const Checksum& commit) const;
    const std::vector<Checksum>& commits() const { return commits_; }
    // Without the nodes that are no objects.
    std::size_t objects() const { return objects_; }

private:
    class Reader;

    std::optional<Node> find(std::uint64_t key) const;

    // Of each object the first 61 bits of its checksum, and its kind; sorted.
    std::vector<std::uint64_t> keys_;
    std::vector<std::uint64_t> bytes_;
    std::vector<std::size_t> first_;  // of each node in below_, and the end
    std::vector<Node> below_;
    std::vector<bool> broken_, linked_elsewhere_;
    std::vector<Checksum> commits_;
    std::size_t objects_ = 0;
    std::array<std::size_t, 257> directory_{};  // where the objects of each directory begin, and the end
};

}  // namespace imaged
