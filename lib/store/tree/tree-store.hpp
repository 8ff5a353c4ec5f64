// SPDX-License-Identifier: Apache-2.0
// Builds directory trees in memory: reads dirtrees on demand, and writes new ones only when the whole tree is finished.
//
// Trees never change: every edit gives a new root. Intermediate dirtrees stay in memory until the caller says which
// trees it still needs. Beyond a limit all go to the sink. Belongs to one thread; borrows the sink.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "layer/object-sink.hpp"
#include "layer/path-mapping.hpp"

namespace imaged {

struct TreeEntry {
    bool directory = false;
    Checksum object;  // of a file or symbolic link; the dirtree of a directory
    Checksum meta;    // dirmeta of a directory
    bool operator==(const TreeEntry&) const = default;
};

using Directory = std::map<std::string, TreeEntry, std::less<>>;

// What DIRTREE, the bytes of one, lists. Throws as parse_dirtree().
Directory parse_directory(std::string_view dirtree);

class TreeStore {
public:
    explicit TreeStore(ObjectSink& sink);

    Directory load(const Checksum& tree) { return parse_directory(bytes_of(tree)); }
    Checksum store(const Directory& directory);
    std::optional<std::string> read_symlink(const Checksum& object) { return sink_.read_symlink(object); }

    // The metadata of a directory that no entry lists: 0755, root:root, no attributes.
    const Checksum& default_meta() const { return default_meta_; }
    TreeEntry empty_directory() { return {true, store({}), default_meta_}; }

    // What to take for the entry at PLACE, of which the tree has FOUND.
    using View = std::function<std::optional<TreeEntry>(const Path& place, const std::optional<TreeEntry>& found)>;

    // PATH in the tree with the symbolic links on its way followed, its last component too with FOLLOW_LAST. Where the
    // tree ends, the rest is taken as it stands. With VIEW, what is on the way is what that returns. Throws
    // Error(corrupt_input) for a loop.
    Path resolve(const TreeEntry& root, const Path& path, bool follow_last, const View& view = {});
    // What is at PATH; no links are followed.
    std::optional<TreeEntry> find(const TreeEntry& root, const Path& path);
    // A tree with ENTRY (or nothing) at PATH. Parents that are missing or no directories are replaced by directories
    // with default metadata.
    TreeEntry replace(const TreeEntry& root, const Path& path, const std::optional<TreeEntry>& entry);

    // ENTRY and all below it.
    std::uint32_t count(const TreeEntry& entry);

    // No tree of before is needed any more but ROOTS and what they reach.
    void retain(std::span<const TreeEntry> roots);
    // Writes every new dirtree that ROOT reaches to the sink, and drops from it what only intermediate trees used.
    void finish(const TreeEntry& root);

private:
    // Dirtrees of a few thousand changed directories.
    static constexpr std::size_t max_pending_bytes = 8 * 1024 * 1024;
    // So many may be dead, and as many as are not.
    static constexpr std::size_t max_dead_bytes = 1024 * 1024;
    static constexpr std::size_t max_read_bytes = 1024 * 1024;

    // Directories that find() looked at last; they never change.
    static constexpr std::size_t max_cached = 8;
    static constexpr std::size_t max_cached_entries = 20'000;
    struct Cached {
        Checksum tree;
        Directory directory;
    };

    std::optional<TreeEntry> find_in(const Checksum& tree, const std::string& name);
    void spill();
    // Valid until the next call of a member.
    const std::string& bytes_of(const Checksum& tree);
    TreeEntry replace_below(const TreeEntry& root, const Path& path, std::size_t depth,
                            const std::optional<TreeEntry>& entry);

    ObjectSink& sink_;
    const Checksum default_meta_;
    std::unordered_map<Checksum, std::string> pending_;
    std::size_t pending_bytes_ = 0;
    std::size_t retained_bytes_ = 0;  // of them, by the last retain() that looked
    std::unordered_set<Checksum> spilled_;
    // What the sink has of the dirtrees that were read last: a merge looks at each of a layer's several times.
    std::unordered_map<Checksum, std::string> read_;
    std::size_t read_bytes_ = 0;
    std::array<Cached, max_cached> cached_;
    std::size_t next_cached_ = 0;
};

// Edits of one tree, many of them in the same directories: each directory is written once for a run of edits in it.
class TreeEditor {
public:
    // Borrows STORE.
    TreeEditor(TreeStore& store, TreeEntry root) : store_(store), root_(std::move(root)) {}

    // Do the same as those of TreeStore, but put no entry below a parent that is not a directory.
    Path resolve(const Path& path, bool follow_last, const TreeStore::View& view = {});
    std::optional<TreeEntry> find(const Path& path);
    void replace(const Path& path, const std::optional<TreeEntry>& entry);

    TreeEntry root();

private:
    bool is_stale(const Path& path) const;
    void flush();

    TreeStore& store_;
    TreeEntry root_;  // without what was changed in open_
    Path open_;
    std::optional<TreeEntry> entry_;  // of open_
    Directory directory_;
    std::unordered_set<std::string> changed_;
    bool replaced_ = false;  // something that may have led elsewhere
};

}  // namespace imaged
