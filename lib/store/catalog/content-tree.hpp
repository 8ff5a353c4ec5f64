// SPDX-License-Identifier: Apache-2.0
// The interface for reading the files of an image's tree, stored or still in a registry, to find its packages.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/file-descriptor.hpp"
#include "base/tree-path.hpp"
#include "packages/rpm-database.hpp"
#include "store/objects/file-object.hpp"

namespace imaged {

// The content of a file, which can be read in any order. Borrows nothing.
class SeekableContent {
public:
    // The object itself, or a copy in memory where the repository compresses it.
    explicit SeekableContent(FileObject object);
    // The first SIZE bytes of FILE.
    SeekableContent(FileDescriptor file, std::uint64_t size);

    // Valid while the object lives.
    RandomFile random() const;
    std::uint64_t size() const { return size_; }

private:
    std::optional<FileObject> object_;
    FileDescriptor copy_;  // of what OBJECT_ has no file for
    std::uint64_t size_;
};

// Belongs to one thread.
class ContentTree {
public:
    struct Node {
        bool is_directory = false;
        std::string id;  // of this tree's nodes; one node has one
    };

    virtual ~ContentTree() = default;
    // Returns the node at PATH, symbolic links followed; nullopt if there is none. Throws Error(corrupt_input) for
    // links that lead in circles.
    virtual std::optional<Node> find(const Path& path) const = 0;
    // Returns the entries of a directory, by name.
    virtual std::map<std::string, Node> list(const Node& directory) const = 0;
    // The content of a file. Throws Error(corrupt_input) for a symbolic link, Error(unsupported_image) for more than
    // LIMIT bytes.
    virtual std::unique_ptr<SeekableContent> open(const Node& file, std::uint64_t limit) const = 0;
};

}  // namespace imaged
