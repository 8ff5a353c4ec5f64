// SPDX-License-Identifier: Apache-2.0
// Applies one derived layer to the tree of the layers below.
//
// The rules are those of the OCI image-spec ("Image Layer Filesystem Changeset"), and the result is that of an unpacker
// of the whole stack:
//   - whiteouts and opaque markers are applied first (LayerHiding);
//   - a directory that the layer lists replaces the metadata of the one below, and any other kind of entry;
//   - a directory that is there only to hold whiteouts makes nothing;
//   - a directory that the layer only implies keeps the metadata below, and follows a symbolic link below to its
//     target;
//   - any other entry replaces what is below; if links lead two entries to one place, the later one is kept;
//   - an entry below a symbolic link of a lower layer is stored at the link's target at that moment. It is kept there
//     if the layer itself replaces the link afterwards, and removed if the layer replaces that directory or one above;
//   - the target of a hard link is looked up after all links are followed, including this layer's entries.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <unordered_set>
#include <vector>

#include "store/records/layer-record.hpp"
#include "store/tree/layer-hiding.hpp"
#include "store/tree/layer-order.hpp"
#include "store/tree/tree-store.hpp"

namespace imaged {

// The image's own path for PATH of a layer's commit, which may be below displaced_directory.
std::string own_path(std::string path);

class LayerOverlay {
public:
    // Borrows all three. LOST is where the layers so far have what cannot be stored, as paths of the merged tree;
    // apply() adds this layer's.
    LayerOverlay(TreeStore& store, const LayerRecord& record, std::unordered_set<std::string>& lost);

    // LOWER with UPPER over it. DISPLACED is the layer's displaced_directory. Throws Error(corrupt_input) naming the
    // path that cannot be placed.
    TreeEntry apply(const TreeEntry& lower, const TreeEntry& upper, const std::optional<TreeEntry>& displaced);

    // Top-level directories of the layer that are links below, and were put where those lead.
    const std::set<std::string>& followed() const { return followed_; }
    // Hard links to what no layer has stored.
    std::uint64_t dropped_links() const { return dropped_links_; }
    // Entries that no unpacker could have put there, and what they would have taken the place of: by place.
    const std::map<std::string, std::uint32_t>& conflicts() const { return conflicts_; }

    // Whether WHITEOUT, in the directory LISTED, stands for an entry of which nothing is stored: one that replaces what
    // is there when its turn comes, and hides nothing before.
    bool is_lost_entry(const std::string& listed, std::string_view whiteout) const;

    // Whether the directory ENTRY took the place of something else that the layer had there before: nothing of what
    // came there before that, by any path, is left.
    bool took_a_place(const std::string& listed, const TreeEntry& entry) const;

    // Whether no entry of the layer lists the directory.
    bool is_implicit(const std::string& listed, const Checksum& meta) const {
        return record_.is_implicit(listed, meta == store_.default_meta());
    }

private:
    // A directory that this layer has put at the same place by another path.
    struct Rival {
        Checksum tree;
        std::string listed;
    };
    using Rivals = std::vector<Rival>;
    // The entries that those have there.
    struct Written {
        std::vector<Directory> directories;
        const Rivals& rivals;
    };

    Checksum merge(const Checksum& lower, const Checksum& upper, Path& place, const std::string& listed,
                   const Rivals& rivals);
    void find_displaced(const Checksum& lower, const Checksum& displaced, Path& place, const std::string& listed);
    void put(Directory& result, const std::string& name, const std::optional<TreeEntry>& entry, Path& place,
             const std::string& path, const Written& written);
    void drop_lower(TreeEntry& result, const Written& written, const std::string& name, Path& place,
                    const std::string& path);
    void merge_directory(Directory& result, const std::string& name, const TreeEntry& whole, Path& place,
                         const std::string& path, const Written& written);
    std::optional<TreeEntry> left_of(TreeEntry entry, const std::string& name, const std::string& path,
                                     const Written& written);
    bool gives_way(const Written& written, const std::string& name, const TreeEntry& entry, const std::string& path);
    bool keeps_metadata_of(const Written& written, const std::string& name, const std::string& path);
    Rivals rivals_at(const Path& place);
    static Rivals rivals_below(const Written& written, const std::string& name);
    // Whether the directory is there for whiteouts only.
    bool is_whiteout_only(const std::string& listed, const TreeEntry& upper);
    // A tree with nothing below it: whiteouts have nothing to hide.
    Checksum strip(const Checksum& tree, const std::string& listed);
    TreeEntry place_linked(TreeEntry root);
    // Leaves of linked_[INDEX] what came before the layer changed the way there for the first time, the rest for later,
    // and returns where that led. Of one with nothing in it but hard links that wait, or what is not kept, it is not
    // known when it came: nullopt if the layer changed the way.
    std::optional<Path> route(const TreeEntry& root, std::size_t index);
    // Where PLACE leads, nullopt if that is not where it led below.
    std::optional<Path> unchanged_way(const Path& place);
    void note_later(const Written& written, const std::string& name, const TreeEntry& entry, const Path& place,
                    const std::string& path);
    void note_refused(const Path& place, const std::string& listed, const TreeEntry& directory);
    void note_refused_link(TreeEditor& root, const std::string& path);
    void note_conflict(const Path& place, const TreeEntry& dropped) {
        conflicts_[join_path(place)] += store_.count(dropped) - 1;
    }

    // An entry that this layer has put at a place, and the path that the layer uses for it.
    struct Brought {
        std::string path;
        TreeEntry entry;
        bool is_link = false;
    };
    std::vector<Brought> brought_to(const Path& place);
    // Whether WHAT changed where PLACE leads.
    bool changes_way(const Path& place, const Brought& what);
    // Whether that was after the entry PATH came: nothing comes below a file any more.
    bool is_changed_after(const Brought& what, const std::string& path);
    // Returns the entry that was at PLACE when the entry PATH came; FOUND is there in the end.
    std::optional<TreeEntry> stood_at(const Path& place, const std::optional<TreeEntry>& found,
                                      const std::string& path);
    // Returns the entry that replaced one of the first DEPTH directories of PLACE after the layer's entry PATH.
    std::optional<Brought> replaced_since(const Path& place, std::size_t depth, const std::string& path);
    // Entries of a directory of the layer: those that came after the entry MOMENT, or the others.
    std::optional<TreeEntry> part(const TreeEntry& directory, const std::string& listed, const std::string& moment,
                                  bool later);
    std::string any_entry_of(const TreeEntry& directory, const std::string& listed);
    // The name in the image that the entry NAME of a directory stands for; nullopt for whiteouts.
    std::optional<std::string> own_name(const std::string& listed, const std::string& name,
                                        const TreeEntry& entry) const;
    void add_linked(LinkedDirectory linked);
    TreeEntry place_links(TreeEntry merged, const TreeEntry& lower);
    bool brought_only_after(const Path& place, const TreeEntry& entry, const std::string& path);
    std::optional<TreeEntry> file_before(const Path& place, const std::string& path,
                                         const std::optional<TreeEntry>& below);
    // Hard links to what the layer brought by another path than the one that they name; returns their own paths.
    std::vector<std::string> place_rivals(TreeEditor& root);
    // Puts FILE at PLACE unless what the layer brings there by another path than PATH came later.
    void place_link(TreeEditor& root, const Path& place, const std::string& path, const std::optional<TreeEntry>& file);
    bool is_lost(const Path& target) const;
    // Where PATH of this layer was put; nullopt if that was replaced since.
    std::optional<Path> place_of(TreeEditor& root, const std::string& path);
    // Where TARGET led when PATH came.
    Path target_of(TreeEditor& root, const std::string& target, const std::string& path);

    TreeStore& store_;
    const LayerRecord& record_;
    std::unordered_set<std::string>& lost_;
    std::unordered_set<std::string> lost_entries_;  // of this layer, as its own paths; see LayerRecord::lost
    LayerOrder order_;
    TreeEntry upper_;
    TreeEntry shown_;  // what is below, without what the layer hides
    std::vector<LinkedDirectory> linked_;
    std::map<Path, std::vector<std::size_t>> placed_;  // of linked_
    std::map<Path, std::vector<Brought>> brought_;     // brought_to(), while placed_ stays as it is
    std::map<std::string, std::uint32_t> conflicts_;
    std::set<std::string> followed_;
    std::uint64_t dropped_links_ = 0;
};

}  // namespace imaged
