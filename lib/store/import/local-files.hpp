// SPDX-License-Identifier: Apache-2.0
// Which objects of the repository have the content of files that a zstd:chunked layer lists. They are looked for at the
// same path of the version that is stored, and taken if their content has the digest that the table says.
//
// What is found is a hint: who uses it verifies the whole layer.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "base/file-descriptor.hpp"
#include "base/tree-path.hpp"
#include "chunked/chunked-plan.hpp"
#include "layer/dirtree.hpp"

namespace imaged {

// Belongs to one thread.
class LocalFiles {
public:
    // OBJECTS, the objects directory of a repository whose file objects are their content, is borrowed. TREE is the
    // root of the stored version's merged tree.
    LocalFiles(int objects, const Checksum& tree, bool moved_var)
        : objects_(objects), tree_(tree), moved_var_(moved_var) {}

    // FILE as a plan has it.
    ChunkedPlan::File find(const TableFile& file);
    // The content of a file that was found. Throws Error(corrupt_input) where it is not there any more.
    FileDescriptor open(const ChunkedPlan::File& file) const;

private:
    std::optional<Checksum> at_path(const std::string& name);
    const DirectoryListing* directory(const Path& path, std::size_t depth);
    FileDescriptor try_open(const Checksum& object, std::uint64_t size) const;

    const int objects_;
    const Checksum tree_;
    const bool moved_var_;
    // The directories on the way to the last path that was looked for, from the root on.
    struct Level {
        std::string name;
        std::optional<DirectoryListing> listing;
    };
    std::vector<Level> way_;
};

}  // namespace imaged
