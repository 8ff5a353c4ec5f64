// SPDX-License-Identifier: Apache-2.0
// The file tree of one layer while its tar is read: entries in any order, later ones over earlier ones, parents made on
// need.
//
// Paths are the image's own; write() puts /etc and, where it moves, /var where the store format wants them, and what
// the image itself has there beside them (see path-mapping.hpp). Names are kept in one arena and entries in one table,
// some 80 bytes each; both leave the memory for a temporary file when a layer has more than some ten thousand files.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/checksum.hpp"
#include "base/spill-array.hpp"
#include "layer/object-sink.hpp"
#include "layer/path-mapping.hpp"

namespace imaged {

// Entries with the parents made for them, and their names: what bounds the index of an entry, and what the temporary
// file takes.
inline constexpr std::size_t max_tree_nodes = 2'000'000;
inline constexpr std::size_t max_tree_names_bytes = 64 * 1024 * 1024;
// Paths of directories that no entry listed, or of those that one did: one of the two lists is kept in the layer's
// commit, which has a limit of its own.
inline constexpr std::size_t max_directories_bytes = 3 * 1024 * 1024;
// Paths of whiteouts under what the layer made something else than a directory; in the commit too.
inline constexpr std::size_t max_behind_bytes = 2 * 1024 * 1024;
// Paths of entries whose order is kept, in the commit too. A layer with more of them keeps the order of those that
// share a name, or none: it counts only where symbolic links of lower layers lead entries to where others are, and most
// tars are in the order that is assumed then.
inline constexpr std::size_t max_order_bytes = 2 * 1024 * 1024;
// Steps through symbolic links in the parents of a layer's entries: each entry may lead through forty links with
// targets of thousands of components, and a layer has many entries.
inline constexpr std::uint64_t max_link_steps = 10'000'000;
// Entries that are looked at because of hard links to files of their names.
inline constexpr std::uint64_t max_compared = 20'000'000;
// Entries that share a hash, or stand behind those that do; a fair hash of all nodes there may be stays far below.
inline constexpr std::size_t max_probes = 4096;

class LayerTree {
public:
    LayerTree();

    // A file or symbolic link; replaces whatever was there.
    void put_file(const Path& path, const Checksum& object) { put(path, object, true); }
    // A file that only hides something below: its parents are there for it alone until something else needs them. It
    // replaces nothing.
    void put_whiteout(const Path& path, const Checksum& object);
    // A whiteout that stands for an entry of which nothing can be stored: it replaces what was at its path, and has its
    // place in the order of entries.
    void put_lost(const Path& path, const Checksum& object);
    // A hard link whose file is not known yet. It replaces the entry at PATH; without a later fill() no entry is there.
    void put_placeholder(const Path& path);
    // Whether nothing has taken the place of put_placeholder()'s link, or of one of its parents; a link that is kept
    // because of a parent that was replaced is below displaced_directory.
    bool has_placeholder(const Path& path) const;
    // Either keeps the link's place in the order of entries; the second one makes what put_lost() does of it.
    void fill(const Path& path, const Checksum& object);
    void fill_lost(const Path& path, const Checksum& object);
    // An entry that is not kept still needs its parents.
    void need_parents(const Path& path) { make_parents(path, true); }
    // A directory that the tar lists; replaces a file or link, keeps an existing directory's entries.
    void put_directory(const Path& path, const Checksum& meta);
    // Hides what lower layers have in the directory PATH, which took the place of something that is no directory.
    void put_opaque(const Path& path, const Checksum& object);

    // Removes the entry at PATH, if there is one, with all below it.
    void remove(const Path& path) {
        if (const auto index = lookup_path(path); index != none) retire(index);
    }

    struct Found {
        bool directory = false;
        bool listed = true;  // whether there was an entry for it
        Checksum object;     // of a file
    };
    // Returns nullopt if a directory is there for whiteouts only, and for a placeholder.
    std::optional<Found> find(const Path& path) const;

    // Returns the target of a symbolic link; nullopt for a regular file.
    using ReadLink = std::function<std::optional<std::string>(const Checksum&)>;
    // PATH with its parents' symbolic links followed inside this layer, as an extracting tar would. The last component
    // is not followed. Throws Error(corrupt_input) for a loop, Error(unsupported_image) for a path that gets too deep
    // or leads through a placeholder, or too many links in all.
    Path resolve_parents(const Path& path, const ReadLink& read_link);

    // Writes the dirtrees and dirmetas in the layout of MAPPING, and returns the root's.
    struct Root {
        Checksum tree, meta;
        // Directories that no entry listed, as paths of the image; "" is the root. Sorted.
        std::vector<std::string> implicit;
        // Set if those would take more than max_directories_bytes, and then in their place: the directories that an
        // entry listed with the metadata that unlisted ones have.
        std::optional<std::vector<std::string>> listed;
        // Unlisted directories that nothing but whiteouts needs: they hide, and make nothing. Sorted.
        std::vector<std::string> whiteout_only;
        // Whiteouts whose parents the layer itself made something else than directories.
        std::vector<std::string> behind;
        // The entries that symbolic links of lower layers may lead to where others are, last one last; only where that
        // is not the order of their paths.
        std::vector<std::string> order;
        // Whether there is anything at the top that a read-only root does not show.
        bool more_than_deployed = false;
    };
    Root write(const PathMapping& mapping, ObjectSink& sink);

    // The moment of the last entry; later ones are larger.
    std::uint32_t now() const { return now_; }
    // The moment of the placeholder at PATH; nullopt if there is none.
    std::optional<std::uint32_t> placeholder_moment(const Path& path) const;
    // The moment of the first of all that is called NAME. Slow at first, quick from then on until the next entry, but
    // for the number of those.
    std::optional<std::uint32_t> first_moment(std::string_view name);

    // Whether any directory is there that no entry listed, and not for whiteouts only.
    bool has_implicit() const;
    // Files called as TARGET is that came after it and before PATH, first one first: symbolic links of lower layers may
    // lead them to its place. Stops after a bounded amount of work.
    std::vector<std::string> files_between(const Path& target, const Path& path);

    std::size_t entries() const { return nodes_.size(); }

private:
    using Index = std::uint32_t;
    static constexpr Index none = UINT32_MAX;

    struct Node {
        Checksum checksum;  // object of a file, dirmeta of a directory
        Index parent;
        Index next;  // sibling
        Index first_child = none;
        std::uint32_t moment = 0;  // of the last entry that was put here
        std::uint32_t name_offset;
        std::uint8_t name_size;
        bool directory;
        bool is_explicit;
        bool needed = false;  // by anything but a whiteout; of a whiteout, that lower links do not lead it elsewhere
        bool dead = false;    // replaced
        bool placeholder = false;
        bool lost = false;  // see put_lost()
    };

    std::string_view name(const Node& node) const {
        return {names_.slice(node.name_offset, node.name_size), node.name_size};
    }
    Index lookup(Index parent, std::string_view name) const;
    Index lookup_path(const Path& path) const;
    Index insert(Index parent, std::string_view name, bool directory);
    Index make_parents(const Path& path, bool needed);
    void put(const Path& path, const Checksum& object, bool needed);
    // The entry is replaced or removed.
    void retire(Index index);
    bool has_displaced(Index directory, bool implicit) const;
    void copy_displaced(Index directory, Path& copy, bool implicit);
    void copy_entry(Index index, const Path& copy);
    // The name that the entry is for: of a whiteout, the name that it hides.
    std::string_view subject(const Node& node) const;
    Index move_directory(const MovedDirectory& move);
    // Called NAME or not: a hash decides. Sorted.
    const std::vector<std::uint64_t>& names();
    Path components_of(Index index) const;
    std::string path_of(Index index) const;
    bool is_listed(const Node& node) const;
    bool is_reachable(Index index) const;
    bool has_implicit_parent(Index index) const;
    // Whether any hard link is left to the merge: its target may be where an entry is that came later.
    bool has_waiting() const;
    static void note_behind(std::vector<std::string>& paths, std::size_t& bytes, std::string path);
    std::vector<std::string> whiteouts_behind();
    // First one first.
    void sort_by_moment(std::vector<Index>& entries) const;
    std::vector<std::string> paths_by_moment(std::vector<Index> entries) const;
    std::vector<std::string> order(const PathMapping& mapping);
    // Returns nullopt if it is too long.
    std::optional<std::vector<std::string>> whole_order(const PathMapping& mapping);
    std::vector<std::string> order_of_namesakes(const PathMapping& mapping);
    bool has_place_in_order(Index index) const;
    bool is_stored_by_name(Index directory) const;
    class Writer;
    // A slot of the table holds the index of an entry and, above it, some bits of its hash, so that most slots of
    // other entries are skipped without a look at the entry itself.
    static constexpr unsigned index_bits = 21;
    static constexpr Index index_mask = (Index{1} << index_bits) - 1;
    static_assert(max_tree_nodes < index_mask);
    static Index slot_of(Index index, std::uint64_t hash) {
        return index | static_cast<Index>(hash >> 40 << index_bits);
    }
    void place(std::vector<Index>& table, Index index, std::uint64_t hash) const;

    void grow();
    void spend_link_steps(std::size_t count);
    static std::uint64_t hash(Index parent, std::string_view name);

    SpillArray<Node> nodes_{max_tree_nodes};
    SpillArray<char> names_{max_tree_names_bytes};
    std::vector<Index> table_;  // open addressing over (parent, name); a replaced node's slot goes to its successor
    std::uint64_t link_steps_ = 0;
    std::uint32_t now_ = 0;
    bool has_whiteouts_ = false;
    std::vector<std::string> behind_;  // whiteouts below what was a file when they came
    std::size_t behind_bytes_ = 0;
    std::vector<std::uint64_t> by_name_;  // some bits of a name's hash, and below them the entry's index
    std::uint32_t by_name_at_ = 0;        // the moment that they are of
    std::uint64_t compared_ = 0;          // see files_between()
};

}  // namespace imaged
