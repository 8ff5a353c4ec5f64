// SPDX-License-Identifier: Apache-2.0
// The objects of a repository with the bytes that each takes on disk, and which objects each of them names, in memory:
// for counting.
//
// Bytes are allocated blocks (st_blocks * 512). An object with several hard links has no bytes itself: they belong to a
// further node, which all objects that are links to the same file name.
//
// Immutable once made. Memory grows with about a hundred bytes an object while it is made, and half of that then.
// Objects of a parent repository (core.parent) are not in the graph.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/checksum.hpp"
#include "store/upkeep/object-facts.hpp"

namespace imaged {

class ObjectGraph {
public:
    using Node = std::uint32_t;

    // What is missing is expected to be elsewhere if the repository HAS_PARENT.
    ObjectGraph(ObjectFacts facts, bool has_parent);

    std::size_t size() const { return bytes_.size(); }
    std::uint64_t bytes(Node node) const { return bytes_[node]; }
    ObjectKind kind(Node node) const { return node < keys_.size() ? keys_[node].kind() : ObjectKind::shared_file; }
    // What NODE names and is there: the root, the metadata and the parent of a commit, the entries of a directory.
    std::span<const Node> below(Node node) const {
        return std::span(below_).subspan(first_[node], first_[node + 1] - first_[node]);
    }
    // Whether NODE is a directory or a commit that cannot be read, or names a directory that is missing.
    bool is_broken(Node node) const { return broken_[node]; }
    // Whether NODE is a commit that shows that it came from an image (garbage.hpp).
    bool is_from_image(Node node) const { return from_image_[node]; }
    // Whether NODE is a file with hard links outside of the repository's objects: removing those here frees nothing.
    bool is_linked_elsewhere(Node node) const { return linked_elsewhere_[node]; }

    std::optional<Node> find_commit(const Checksum& commit) const { return find({commit, ObjectKind::commit}); }
    const std::vector<Checksum>& commits() const { return commits_; }
    // Without the nodes that are no objects.
    std::size_t objects() const { return keys_.size(); }

private:
    std::optional<Node> find(ObjectKey key) const;
    void add_objects(const ObjectFacts& facts);
    void add_shared_files(const ObjectFacts& facts);
    void add_names(const DirectoryFacts& facts, bool has_parent);

    std::vector<ObjectKey> keys_;  // of the objects, sorted
    std::vector<std::uint64_t> bytes_;
    std::vector<std::size_t> first_;  // of each node in below_, and the end
    std::vector<Node> below_;
    std::vector<bool> broken_, from_image_, linked_elsewhere_;
    std::vector<Checksum> commits_;
    std::array<std::size_t, object_directories + 1> directory_{};  // where the objects of each begin, and the end
    std::vector<std::pair<Node, Node>> shared_files_;              // objects that are links, and the files; sorted
};

}  // namespace imaged
