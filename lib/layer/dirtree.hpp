// SPDX-License-Identifier: Apache-2.0
// Directory listings as OSTree keeps them: dirtree objects, GVariants of the type (a(say)a(sayay)) (libostree's
// OSTREE_TREE_GVARIANT_FORMAT).
//
// Reading and writing them is most of what merging and checking an image does, so the bytes are handled here without a
// GVariant: arrays of variable-sized elements end in a table of where each element ends, tuples in the ends of all
// members but the last, last member first; such numbers are little-endian and as wide as the container's size needs
// (GVariant specification, "Framing Offsets").
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/checksum.hpp"

namespace imaged {

struct DirectoryListing {
    struct File {
        std::string name;
        Checksum object;
    };
    struct Directory {
        std::string name;
        Checksum tree, meta;
    };
    std::vector<File> files;             // sorted by name
    std::vector<Directory> directories;  // sorted by name
};

// Throws Error(unsupported_image) when the directory has too many entries for one object, Error(corrupt_input) when two
// entries have one name.
std::string serialise_dirtree(const DirectoryListing& listing);
// Throws Error(repository_damaged) for bytes that are no dirtree, one with names that a directory cannot have, or
// with one name twice.
DirectoryListing parse_dirtree(std::string_view bytes);

// Looks for single names in the bytes of a dirtree, without memory for all of it. In one that is not sorted it may miss
// some. BYTES is borrowed. Throw Error(repository_damaged) as parse_dirtree(), for what they look at.
class DirtreeView {
public:
    explicit DirtreeView(std::string_view bytes);
    std::optional<Checksum> file(std::string_view name) const;
    // The tree of a directory.
    std::optional<Checksum> directory(std::string_view name) const;

private:
    std::string_view files_, directories_;
};

}  // namespace imaged
