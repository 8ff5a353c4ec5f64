// SPDX-License-Identifier: Apache-2.0
// The file tree of one layer while its tar is read: entries in any order, later ones over earlier ones, parents made on
// need.
//
// Paths are the image's own; write() puts /etc and, where it moves, /var where the store format wants them (see
// path-mapping.hpp). Names are kept in one arena and entries in one table, some 80 bytes each, so that a layer of a
// hundred thousand files stays within the worker's memory.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/checksum.hpp"
#include "layer/object-sink.hpp"
#include "layer/path-mapping.hpp"

namespace imaged {

// Bounds the worker's memory together with the arena's limit.
inline constexpr std::size_t max_layer_entries = 2'000'000;
inline constexpr std::size_t max_layer_names_bytes = 64 * 1024 * 1024;

class LayerTree {
public:
    LayerTree();

    // A file or symbolic link; replaces whatever was there.
    void put_file(const Path& path, const Checksum& object);
    // A file that only hides something below: its parents are there for it alone until something else needs them.
    void put_whiteout(const Path& path, const Checksum& object);
    // Something that is not kept needs its parents all the same.
    void need_parents(const Path& path);
    // A directory that the tar lists; replaces a file or link, keeps an existing directory's entries.
    void put_directory(const Path& path, const Checksum& meta);

    // Whatever is at PATH, with all below it; nothing there is fine.
    void remove(const Path& path);

    struct Found {
        bool directory = false;
        Checksum object;  // of a file
    };
    std::optional<Found> find(const Path& path) const;

    // PATH with its parents' symbolic links followed inside this layer, as an extracting tar would. The last component
    // is not followed. SINK reads the links. Throws Error(corrupt_input) for a loop.
    Path resolve_parents(const Path& path, ObjectSink& sink) const;

    // Writes the dirtrees and dirmetas in the layout of MAPPING, and returns the root's.
    struct Root {
        Checksum tree, meta;
        // Directories that no entry listed, as paths of the image; "" is the root. Sorted.
        std::vector<std::string> implicit;
        // Those of them that nothing but whiteouts needs: they hide, and make nothing. Sorted.
        std::vector<std::string> hollow;
    };
    Root write(const PathMapping& mapping, ObjectSink& sink);

    std::size_t entries() const { return nodes_.size(); }

private:
    using Index = std::uint32_t;
    static constexpr Index none = UINT32_MAX;

    struct Node {
        Checksum checksum;  // object of a file, dirmeta of a directory
        Index parent;
        Index next;  // sibling
        Index first_child = none;
        std::uint32_t name_offset;
        std::uint8_t name_size;
        bool directory;
        bool is_explicit;
        bool needed = false;  // by anything but a whiteout
        bool dead = false;    // replaced
    };

    std::string_view name(const Node& node) const { return {names_.data() + node.name_offset, node.name_size}; }
    Index lookup(Index parent, std::string_view name) const;
    Index insert(Index parent, std::string_view name, bool directory);
    Index make_parents(const Path& path, bool needed);
    void put(const Path& path, const Checksum& object, bool needed);
    Index move_directory(std::string_view child, const Path& into);
    void grow();
    static std::uint64_t hash(Index parent, std::string_view name);

    std::vector<Node> nodes_;
    std::string names_;
    std::vector<Index> table_;  // open addressing over (parent, name)
};

}  // namespace imaged
