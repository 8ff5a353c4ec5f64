// SPDX-License-Identifier: Apache-2.0
#include "store/tree/layer-overlay.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "base/tree-path.hpp"

namespace imaged {

std::string own_path(std::string path) {
    if (path.starts_with(displaced_directory)) path.erase(0, displaced_directory.size() + 1);
    return path;
}

LayerOverlay::LayerOverlay(TreeStore& store, const LayerRecord& record, std::unordered_set<std::string>& lost)
    : store_(store), record_(record), lost_(lost), order_(record) {
    for (const auto& path : record.lost) lost_entries_.insert(own_path(path));
}

bool LayerOverlay::is_lost_entry(const std::string& listed, std::string_view whiteout) const {
    if (lost_entries_.empty() || !is_whiteout(whiteout)) return false;
    return lost_entries_.contains(own_path(join_path(listed, std::string(whiteout.substr(whiteout_prefix.size())))));
}

bool LayerOverlay::took_a_place(const std::string& listed, const TreeEntry& entry) const {
    return entry.directory && !lost_entries_.empty() && lost_entries_.contains(own_path(listed)) &&
           !is_implicit(listed, entry.meta);
}

bool LayerOverlay::is_whiteout_only(const std::string& listed, const TreeEntry& upper) {
    if (!record_.has_whiteouts || !is_implicit(listed, upper.meta)) return false;
    if (record_.has_implicit) return record_.whiteout_only_directories.contains(listed);
    const auto directory = store_.load(upper.object);
    return !directory.empty() && std::all_of(directory.begin(), directory.end(), [&](const auto& entry) {
        return entry.second.directory ? is_whiteout_only(join_path(listed, entry.first), entry.second)
                                      : is_whiteout(entry.first);
    });
}

TreeEntry LayerOverlay::apply(const TreeEntry& lower, const TreeEntry& upper,
                              const std::optional<TreeEntry>& displaced) {
    upper_ = upper;
    shown_ = LayerHiding(store_, record_, *this).apply(lower, upper);
    Path place;
    if (displaced) find_displaced(shown_.object, displaced->object, place, std::string(displaced_directory));
    const TreeEntry merged{true, merge(shown_.object, upper.object, place, "", {}),
                           is_implicit("", upper.meta) ? shown_.meta : upper.meta};
    return place_links(place_linked(merged), lower);
}

Checksum LayerOverlay::merge(const Checksum& lower, const Checksum& upper, Path& place, const std::string& listed,
                             const Rivals& rivals) {
    auto result = store_.load(lower);
    const auto before = result;
    Written written{{}, rivals};
    for (const auto& rival : rivals) written.directories.push_back(store_.load(rival.tree));
    const auto added = store_.load(upper);
    // First: what else the layer has at their paths came later.
    for (const auto& [whiteout, entry] : added) {
        if (entry.directory || !is_lost_entry(listed, whiteout)) continue;
        const auto name = whiteout.substr(whiteout_prefix.size());
        const auto path = join_path(listed, name);
        if (const auto own = added.find(name); own != added.end() && took_a_place(path, own->second)) continue;
        put(result, name, std::nullopt, place, path, written);
    }
    for (const auto& [name, entry] : added) {
        if (entry.directory)
            merge_directory(result, name, entry, place, join_path(listed, name), written);
        else if (!is_whiteout(name))
            put(result, name, entry, place, join_path(listed, name), written);
    }
    return result == before ? lower : store_.store(result);
}

void LayerOverlay::put(Directory& result, const std::string& name, const std::optional<TreeEntry>& entry, Path& place,
                       const std::string& path, const Written& written) {
    const auto found = result.find(name);
    if (gives_way(written, name, entry.value_or(TreeEntry()), path)) {
        if (found != result.end() && found->second.directory) drop_lower(found->second, written, name, place, path);
    } else if (entry) {
        note_later(written, name, *entry, place, path);
        result[name] = *entry;
    } else if (found != result.end()) {
        note_later(written, name, TreeEntry(), place, path);
        result.erase(found);
    }
}

// Directories of the layer that it replaced itself, and that are links below.
void LayerOverlay::find_displaced(const Checksum& lower, const Checksum& displaced, Path& place,
                                  const std::string& listed) {
    const auto below = store_.load(lower);
    for (const auto& [name, entry] : store_.load(displaced)) {
        const auto found = below.find(name);
        if (!entry.directory || found == below.end()) continue;
        const auto path = join_path(listed, name);
        place.push_back(name);
        if (found->second.directory) {
            find_displaced(found->second.object, entry.object, place, path);
        } else if (is_implicit(path, entry.meta) && store_.read_symlink(found->second.object)) {
            linked_.push_back({place, path, entry});
        }
        place.pop_back();
    }
}

// At PATH the layer put something else than a directory, and by another path a directory in its place: what lower
// layers have there is gone, and what this one had there before.
void LayerOverlay::drop_lower(TreeEntry& result, const Written& written, const std::string& name, Path& place,
                              const std::string& path) {
    auto own = store_.empty_directory().object;
    place.push_back(name);
    for (const auto& rival : rivals_below(written, name)) {
        if (const auto later = part({true, rival.tree, {}}, rival.listed, path, true))
            own = merge(own, later->object, place, rival.listed, {});
    }
    place.pop_back();
    result.object = own;
}

void LayerOverlay::merge_directory(Directory& result, const std::string& name, const TreeEntry& whole, Path& place,
                                   const std::string& path, const Written& written) {
    const auto left = left_of(whole, name, path, written);
    if (!left) return;
    const auto& entry = *left;
    const auto found = result.find(name);
    const bool is_directory = found != result.end() && found->second.directory;
    if (!is_directory && is_whiteout_only(path, entry)) return;
    const bool implicit = is_implicit(path, entry.meta);
    const bool over_link = !is_directory && found != result.end() && store_.read_symlink(found->second.object);
    auto at = place;
    at.push_back(name);
    if (gives_way(written, name, entry, path)) {
        if (over_link)
            linked_.push_back({std::move(at), path, entry});
        else if (!is_directory)
            note_refused(at, path, entry);
    } else if (is_directory) {
        auto& existing = found->second;
        if (took_a_place(path, entry)) drop_lower(existing, written, name, place, path);
        place.push_back(name);
        existing.object = merge(existing.object, entry.object, place, path, rivals_below(written, name));
        if (!implicit && !keeps_metadata_of(written, name, path)) existing.meta = entry.meta;
        place.pop_back();
    } else if (implicit && over_link) {
        if (path == name) followed_.insert(name);
        linked_.push_back({std::move(at), path, entry});
    } else {
        result[name] = {true, strip(entry.object, path), entry.meta};
    }
}

// What stays of the directory ENTRY if another path has brought one that took the place of something: nullopt if
// nothing does.
std::optional<TreeEntry> LayerOverlay::left_of(TreeEntry entry, const std::string& name, const std::string& path,
                                               const Written& written) {
    for (std::size_t i = 0; i < written.directories.size(); ++i) {
        const auto found = written.directories[i].find(name);
        const auto other = join_path(written.rivals[i].listed, name);
        if (found == written.directories[i].end() || !took_a_place(other, found->second)) continue;
        const auto later = part(entry, path, other, true);
        if (!later && (is_implicit(path, entry.meta) || !order_.is_later(path, other))) return std::nullopt;
        entry.object = later.value_or(store_.empty_directory()).object;
    }
    return entry;
}

// Whether what another path has brought to the same place came later than ENTRY.
bool LayerOverlay::gives_way(const Written& written, const std::string& name, const TreeEntry& entry,
                             const std::string& path) {
    for (std::size_t i = 0; i < written.directories.size(); ++i) {
        auto found = written.directories[i].find(name);
        if (found == written.directories[i].end()) {
            found = written.directories[i].find(std::string(whiteout_prefix) + name);
            if (found == written.directories[i].end() || !is_lost_entry(written.rivals[i].listed, found->first))
                continue;
        }
        const auto other = join_path(written.rivals[i].listed, name);
        const auto& theirs = found->second;
        const bool listed = !entry.directory || !is_implicit(path, entry.meta);
        const bool other_listed = !theirs.directory || !is_implicit(other, theirs.meta);
        if (entry.directory && theirs.directory) continue;
        if (listed && other_listed) {
            if (order_.is_later(other, path)) return true;
        } else if (!listed && !store_.read_symlink(theirs.object)) {
            return true;  // the other way round, nothing could have been put inside it
        }
    }
    return false;
}

bool LayerOverlay::keeps_metadata_of(const Written& written, const std::string& name, const std::string& path) {
    for (std::size_t i = 0; i < written.directories.size(); ++i) {
        const auto found = written.directories[i].find(name);
        const auto other = join_path(written.rivals[i].listed, name);
        if (found != written.directories[i].end() && found->second.directory &&
            !is_implicit(other, found->second.meta) && order_.is_later(other, path))
            return true;
    }
    return false;
}

LayerOverlay::Rivals LayerOverlay::rivals_below(const Written& written, const std::string& name) {
    Rivals below;
    for (std::size_t i = 0; i < written.directories.size(); ++i) {
        const auto found = written.directories[i].find(name);
        if (found != written.directories[i].end() && found->second.directory)
            below.push_back({found->second.object, join_path(written.rivals[i].listed, name)});
    }
    return below;
}

LayerOverlay::Rivals LayerOverlay::rivals_at(const Path& place) {
    Rivals rivals;
    if (const auto direct = store_.find(upper_, place); direct && direct->directory)
        rivals.push_back({direct->object, place.empty() ? "" : join_path(place)});
    for (std::size_t length = 0; length <= place.size(); ++length) {
        const auto cut = place.begin() + static_cast<std::ptrdiff_t>(length);
        const auto earlier = placed_.find(Path(place.begin(), cut));
        if (earlier == placed_.end()) continue;
        for (const auto index : earlier->second) {
            const auto& linked = linked_[index];
            auto listed = linked.listed;
            for (auto name = cut; name != place.end(); ++name) listed = join_path(listed, *name);
            const auto found = store_.find(linked.upper, Path(cut, place.end()));
            if (found && found->directory) rivals.push_back({found->object, std::move(listed)});
        }
    }
    return rivals;
}

Checksum LayerOverlay::strip(const Checksum& tree, const std::string& listed) {
    if (!record_.has_whiteouts) return tree;
    auto directory = store_.load(tree);
    bool changed = false;
    for (auto entry = directory.begin(); entry != directory.end();) {
        const auto path = join_path(listed, entry->first);
        const bool dropped =
            entry->second.directory ? is_whiteout_only(path, entry->second) : is_whiteout(entry->first);
        if (dropped) {
            entry = directory.erase(entry);
            changed = true;
            continue;
        }
        if (entry->second.directory) {
            const auto stripped = strip(entry->second.object, path);
            changed |= stripped != entry->second.object;
            entry->second.object = stripped;
        }
        ++entry;
    }
    return changed ? store_.store(directory) : tree;
}

TreeEntry LayerOverlay::place_linked(TreeEntry root) {
    // Placing one may find further links; each is about a smaller directory, or about later entries of it, so this
    // ends.
    for (std::size_t index = 0; index < linked_.size(); ++index) {
        auto led_to = route(root, index);
        if (!led_to) continue;
        auto& place = *led_to;
        const auto path = place;
        const auto linked = linked_[index];
        const auto entry = any_entry_of(linked.upper, linked.listed);
        if (replaced_since(path, path.size(), entry)) {
            note_refused(path, linked.listed, linked.upper);
            continue;
        }
        const auto rivals = rivals_at(path);
        const auto found = store_.find(root, path);
        if (found && !found->directory) ++conflicts_[join_path(path)];
        const auto into =
            found && found->directory ? *found : TreeEntry{true, store_.empty_directory().object, linked.upper.meta};
        const auto merged = merge(into.object, linked.upper.object, place, linked.listed, rivals);
        root = store_.replace(root, path, TreeEntry{true, merged, into.meta});
        placed_[path].push_back(index);
        brought_.clear();
    }
    return root;
}

std::optional<Path> LayerOverlay::route(const TreeEntry& root, std::size_t index) {
    for (;;) {
        const auto linked = linked_[index];
        const auto entry = any_entry_of(linked.upper, linked.listed);
        if (entry == linked.listed) return unchanged_way(linked.place);
        std::optional<TreeEntry> before, after;
        auto place = store_.resolve(root, linked.place, true, [&](const Path& at, const auto& found) {
            for (const auto& what : brought_to(at)) {
                if (after || !changes_way(at, what) || !(what.is_link || what.entry.directory)) continue;
                before = part(linked.upper, linked.listed, what.path, false);
                after = before ? part(linked.upper, linked.listed, what.path, true) : std::nullopt;
            }
            return stood_at(at, found, entry);
        });
        if (!after) return place;
        linked_[index].upper = *before;
        add_linked({linked.place, linked.listed, *after});
    }
}

std::optional<Path> LayerOverlay::unchanged_way(const Path& place) {
    bool changed = false;
    auto led_to = store_.resolve(shown_, place, true, [&](const Path& at, const auto& found) {
        const auto brought = brought_to(at);
        changed |= std::any_of(brought.begin(), brought.end(), [&](const auto& what) { return changes_way(at, what); });
        return found;
    });
    return changed ? std::nullopt : std::optional(std::move(led_to));
}

void LayerOverlay::add_linked(LinkedDirectory linked) {
    constexpr std::size_t max_linked = 100'000;
    if (linked_.size() >= max_linked)
        throw Error(ErrorKind::unsupported_image, "entries lead through too many symbolic links of other layers");
    linked_.push_back(std::move(linked));
}

// Entries of the layer below NAME that came after ENTRY took its place by the path PATH: they went where a link leads.
void LayerOverlay::note_later(const Written& written, const std::string& name, const TreeEntry& entry,
                              const Path& place, const std::string& path) {
    if (written.rivals.empty()) return;
    auto at = place;
    at.push_back(name);
    for (const auto& rival : rivals_at(at)) {
        const auto later = part({true, rival.tree, store_.default_meta()}, rival.listed, path, true);
        if (!later) continue;
        if (entry != TreeEntry() && store_.read_symlink(entry.object))
            add_linked({at, rival.listed, *later});
        else
            note_conflict(at, *later);
    }
}

// Entries of DIRECTORY that came after the layer made a file of PLACE or a directory above it.
void LayerOverlay::note_refused(const Path& place, const std::string& listed, const TreeEntry& directory) {
    const auto file = replaced_since(place, place.size(), any_entry_of(directory, listed));
    if (!file || file->is_link || file->entry.directory) return;
    if (const auto later = part(directory, listed, file->path, true)) note_conflict(place, *later);
}

// Likewise of a hard link.
void LayerOverlay::note_refused_link(TreeEditor& root, const std::string& path) {
    if (linked_.empty()) return;
    const auto place = target_of(root, own_path(path), path);
    const auto file = replaced_since(place, place.size() - 1, path);
    if (file && !file->is_link && !file->entry.directory && order_.is_later(path, file->path))
        ++conflicts_[join_path(place)];
}

std::vector<LayerOverlay::Brought> LayerOverlay::brought_to(const Path& place) {
    constexpr std::size_t max_remembered = 4096;
    if (place.empty()) return {};
    if (const auto known = brought_.find(place); known != brought_.end()) return known->second;
    std::vector<Brought> found;
    for (const auto& directory : rivals_at({place.begin(), place.end() - 1})) {
        const TreeEntry root{true, directory.tree, {}};
        const auto path = join_path(directory.listed, place.back());
        const auto entry = store_.find(root, {place.back()});
        if (entry) {
            found.push_back({path, *entry, !entry->directory && store_.read_symlink(entry->object)});
        } else if (is_lost_entry(directory.listed, std::string(whiteout_prefix) + place.back())) {
            found.push_back({path, {}, false});
        }
    }
    if (brought_.size() >= max_remembered) brought_.clear();
    return brought_[place] = found;
}

bool LayerOverlay::changes_way(const Path& place, const Brought& what) {
    if (!what.entry.directory || took_a_place(what.path, what.entry)) return true;
    if (is_implicit(what.path, what.entry.meta)) return false;
    const auto below = store_.find(shown_, place);
    return below && !below->directory;
}

bool LayerOverlay::is_changed_after(const Brought& what, const std::string& path) {
    return (!what.entry.directory && !what.is_link) || order_.is_later(what.path, path);
}

std::optional<TreeEntry> LayerOverlay::stood_at(const Path& place, const std::optional<TreeEntry>& found,
                                                const std::string& path) {
    const Brought* last = nullptr;
    bool changed = false;
    const auto all = brought_to(place);
    for (const auto& what : all) {
        if (!changes_way(place, what)) continue;
        if (is_changed_after(what, path)) {
            changed = true;
        } else if (last == nullptr || order_.is_later(what.path, last->path)) {
            last = &what;
        }
    }
    if (!changed) return found;
    return last != nullptr ? last->entry : store_.find(shown_, place);
}

std::optional<LayerOverlay::Brought> LayerOverlay::replaced_since(const Path& place, std::size_t depth,
                                                                  const std::string& path) {
    for (std::size_t length = 1; length <= depth; ++length) {
        const Path above(place.begin(), place.begin() + static_cast<std::ptrdiff_t>(length));
        for (auto& what : brought_to(above)) {
            const bool replaces = !what.entry.directory || took_a_place(what.path, what.entry);
            if (replaces && is_changed_after(what, path)) return std::move(what);
        }
    }
    return std::nullopt;
}

std::optional<std::string> LayerOverlay::own_name(const std::string& listed, const std::string& name,
                                                  const TreeEntry& entry) const {
    if (entry.directory || !is_whiteout(name)) return name;
    if (!is_lost_entry(listed, name)) return std::nullopt;
    return name.substr(whiteout_prefix.size());
}

std::optional<TreeEntry> LayerOverlay::part(const TreeEntry& directory, const std::string& listed,
                                            const std::string& moment, bool later) {
    Directory kept;
    for (const auto& [name, entry] : store_.load(directory.object)) {
        const auto own = own_name(listed, name, entry);
        if (!own) continue;
        const auto path = join_path(listed, *own);
        const bool stays = order_.is_later(path, moment) == later;
        if (entry.directory) {
            const bool counts = stays && !is_implicit(path, entry.meta);
            if (const auto inside = part(entry, path, moment, later)) {
                kept[name] = *inside;
            } else if (counts) {
                kept[name] = {true, store_.empty_directory().object, entry.meta};
            }
        } else if (stays) {
            kept[name] = entry;
        }
    }
    if (kept.empty()) return std::nullopt;
    return TreeEntry{true, store_.store(kept), directory.meta};
}

std::string LayerOverlay::any_entry_of(const TreeEntry& directory, const std::string& listed) {
    for (const auto& [name, entry] : store_.load(directory.object)) {
        const auto own = own_name(listed, name, entry);
        if (!own) continue;
        auto path = join_path(listed, *own);
        return entry.directory && is_implicit(path, entry.meta) ? any_entry_of(entry, path) : path;
    }
    return listed;
}

TreeEntry LayerOverlay::place_links(TreeEntry merged, const TreeEntry& lower) {
    TreeEditor root(store_, std::move(merged)), below(store_, lower);
    const auto file_in = [&](TreeEditor& tree, const Path& place) -> std::optional<TreeEntry> {
        auto found = tree.find(place);
        if (found && found->directory) found.reset();
        return found;
    };
    const auto file_below = [&](const std::string& target) {
        return file_in(below, below.resolve(split_path(target), false));
    };
    for (const auto& path : record_.lost) {
        if (const auto place = place_of(root, path)) lost_.insert(join_path(*place));
    }
    std::map<std::string, std::string> first;
    for (const auto& [path, target] : record_.links_first) first.emplace(path, target);
    for (const auto& path : place_rivals(root)) first.erase(path);
    for (const auto& [path, target] : record_.unresolved) {
        const auto place = place_of(root, path);
        if (!place) {
            note_refused_link(root, path);
            continue;
        }
        const bool is_first = first.erase(path) > 0;
        const auto led_to = target_of(root, target, path);
        auto found = is_first ? file_below(target) : file_in(root, led_to);
        if (found && !is_first && brought_only_after(led_to, *found, path))
            found = file_before(led_to, path, file_below(target)).value_or(*found);
        if (!found) found = is_first ? file_in(root, led_to) : file_below(target);
        if (found) {
            place_link(root, *place, path, found);
        } else if (is_lost(led_to)) {
            ++dropped_links_;
            place_link(root, *place, path, std::nullopt);
            lost_.insert(join_path(*place));
        } else {
            throw Error(ErrorKind::corrupt_input, "hard link \"" + path + "\": there is no file \"" + target +
                                                      "\" in this layer or in one below it");
        }
    }
    // The others have what their layer brings later, unless there was something already.
    for (const auto& [path, target] : first) {
        const auto place = place_of(root, path);
        if (const auto found = file_below(target); found && place) place_link(root, *place, path, found);
    }
    return root.root();
}

// Whether it was after the entry PATH that the layer put ENTRY at PLACE.
bool LayerOverlay::brought_only_after(const Path& place, const TreeEntry& entry, const std::string& path) {
    bool before = false, after = false;
    for (const auto& what : brought_to(place)) {
        if (what.entry != entry) continue;
        // Without the order of both, the link is to what there is in the end.
        const bool later = order_.knows(path) && order_.knows(what.path) && order_.is_later(what.path, path);
        (later ? after : before) = true;
    }
    return after && !before;
}

// What the layer had put at PLACE when the entry PATH came, or else what is BELOW.
std::optional<TreeEntry> LayerOverlay::file_before(const Path& place, const std::string& path,
                                                   const std::optional<TreeEntry>& below) {
    std::optional<Brought> last;
    for (const auto& what : brought_to(place)) {
        if (what.entry.directory || what.entry == TreeEntry() || order_.is_later(what.path, path)) continue;
        if (!last || order_.is_later(what.path, last->path)) last = what;
    }
    return last ? std::optional(last->entry) : below;
}

std::vector<std::string> LayerOverlay::place_rivals(TreeEditor& root) {
    std::vector<std::string> links;
    std::multimap<std::string, std::string> rivals;
    for (const auto& [path, other] : record_.link_rivals) rivals.emplace(path, other);
    if (rivals.empty()) return links;
    std::map<std::string, TreeEntry> placed;
    for (const auto& [path, target] : record_.hard_links) {
        std::optional<TreeEntry> file;
        if (const auto earlier = placed.find(target); earlier != placed.end()) file = earlier->second;
        const auto [begin, end] = rivals.equal_range(path);
        for (auto rival = begin; rival != end; ++rival) {
            const auto other = split_path(rival->second);
            if (root.resolve(other, false) != root.resolve(split_path(target), false)) continue;
            if (const auto found = store_.find(upper_, other); found && !found->directory) file = found;
        }
        if (!file) continue;
        placed[path] = *file;
        place_link(root, root.resolve(split_path(path), false), path, file);
        links.push_back(path);
    }
    return links;
}

std::optional<Path> LayerOverlay::place_of(TreeEditor& root, const std::string& path) {
    const auto own = split_path(own_path(path));
    if (linked_.empty())
        return path.starts_with(displaced_directory) ? std::nullopt : std::optional(root.resolve(own, false));
    auto place = target_of(root, own_path(path), path);
    if (replaced_since(place, place.size() - 1, path)) return std::nullopt;
    return place;
}

Path LayerOverlay::target_of(TreeEditor& root, const std::string& target, const std::string& path) {
    return root.resolve(split_path(target), false,
                        [&](const Path& at, const auto& found) { return stood_at(at, found, path); });
}

void LayerOverlay::place_link(TreeEditor& root, const Path& place, const std::string& path,
                              const std::optional<TreeEntry>& file) {
    if (linked_.empty()) return root.replace(place, file);
    Path parent(place.begin(), place.end() - 1);
    const auto rivals = rivals_at(parent);
    Written written{{}, rivals};
    for (const auto& rival : rivals) written.directories.push_back(store_.load(rival.tree));
    if (!gives_way(written, place.back(), {}, path)) {
        for (const auto& rival : rivals_at(place)) {
            if (const auto later = part({true, rival.tree, {}}, rival.listed, path, true)) note_conflict(place, *later);
        }
        return root.replace(place, file);
    }
    auto found = root.find(place);
    if (!found || !found->directory) return;
    drop_lower(*found, written, place.back(), parent, path);
    root.replace(place, found);
}

// Whether some layer has at TARGET, a path of the merged tree, what is not stored.
bool LayerOverlay::is_lost(const Path& target) const {
    return (target.size() > 1 && is_runtime_directory(target.front())) ||
           std::any_of(target.begin(), target.end(), is_whiteout) || lost_.contains(join_path(target));
}

}  // namespace imaged
