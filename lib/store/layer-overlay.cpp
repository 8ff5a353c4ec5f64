// SPDX-License-Identifier: Apache-2.0
#include "store/layer-overlay.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "layer/tar-reader.hpp"

namespace imaged {

std::string child_of(const std::string& directory, const std::string& name) {
    return directory.empty() ? name : directory + "/" + name;
}

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
    return lost_entries_.contains(own_path(child_of(listed, std::string(whiteout.substr(whiteout_prefix.size())))));
}

bool LayerOverlay::is_implicit(const std::string& listed, const Checksum& meta) const {
    if (!record_.has_implicit) return meta == store_.default_meta();
    return record_.implicit_directories.contains(listed);
}

bool LayerOverlay::is_hollow(const std::string& listed, const TreeEntry& upper) {
    if (!record_.has_whiteouts || !is_implicit(listed, upper.meta)) return false;
    if (record_.has_implicit) return record_.hollow_directories.contains(listed);
    const auto directory = store_.load(upper.object);
    return !directory.empty() && std::all_of(directory.begin(), directory.end(), [&](const auto& entry) {
        return entry.second.directory ? is_hollow(child_of(listed, entry.first), entry.second)
                                      : is_whiteout(entry.first);
    });
}

TreeEntry LayerOverlay::apply(const TreeEntry& lower, const TreeEntry& upper,
                              const std::optional<TreeEntry>& displaced) {
    upper_ = upper;
    const auto shown = LayerHiding(store_, record_, *this).apply(lower, upper);
    Path place;
    if (displaced) find_displaced(shown, shown.object, displaced->object, place, std::string(displaced_directory));
    const TreeEntry merged{true, merge(shown.object, upper.object, place, "", {}),
                           is_implicit("", upper.meta) ? shown.meta : upper.meta};
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
        put(result, name, std::nullopt, place, child_of(listed, name), written);
    }
    for (const auto& [name, entry] : added) {
        if (entry.directory)
            merge_directory(result, name, entry, place, child_of(listed, name), written);
        else if (!is_whiteout(name))
            put(result, name, entry, place, child_of(listed, name), written);
    }
    return result == before ? lower : store_.store(result);
}

void LayerOverlay::put(Directory& result, const std::string& name, const std::optional<TreeEntry>& entry, Path& place,
                       const std::string& path, const Written& written) {
    const auto found = result.find(name);
    if (gives_way(written, name, entry.value_or(TreeEntry()), path)) {
        if (found != result.end() && found->second.directory) drop_lower(found->second, written, name, place, path);
    } else if (entry) {
        result[name] = *entry;
    } else if (found != result.end()) {
        result.erase(found);
    }
}

// Directories of the layer that it replaced itself, and that are links below.
void LayerOverlay::find_displaced(const TreeEntry& root, const Checksum& lower, const Checksum& displaced, Path& place,
                                  const std::string& listed) {
    const auto below = store_.load(lower);
    for (const auto& [name, entry] : store_.load(displaced)) {
        const auto found = below.find(name);
        if (!entry.directory || found == below.end()) continue;
        const auto path = child_of(listed, name);
        place.push_back(name);
        if (found->second.directory) {
            find_displaced(root, found->second.object, entry.object, place, path);
        } else if (is_implicit(path, entry.meta) && store_.read_symlink(found->second.object)) {
            linked_.push_back({store_.resolve(root, place, true), path, entry, true});
        }
        place.pop_back();
    }
}

// At PATH the layer put a file, and by another path a directory in its place: what lower layers have there is gone.
void LayerOverlay::drop_lower(TreeEntry& result, const Written& written, const std::string& name, Path& place,
                              const std::string& path) {
    auto own = store_.empty_directory().object;
    place.push_back(name);
    for (const auto& rival : rivals_below(written, name)) {
        if (order_.is_later(rival.listed, path)) own = merge(own, rival.tree, place, rival.listed, {});
    }
    place.pop_back();
    result.object = own;
}

void LayerOverlay::merge_directory(Directory& result, const std::string& name, const TreeEntry& entry, Path& place,
                                   const std::string& path, const Written& written) {
    const auto found = result.find(name);
    const bool is_directory = found != result.end() && found->second.directory;
    if ((!is_directory && is_hollow(path, entry)) || gives_way(written, name, entry, path)) return;
    const bool implicit = is_implicit(path, entry.meta);
    if (is_directory) {
        place.push_back(name);
        auto& existing = found->second;
        existing.object = merge(existing.object, entry.object, place, path, rivals_below(written, name));
        if (!implicit && !keeps_metadata_of(written, name, path)) existing.meta = entry.meta;
        place.pop_back();
    } else if (found != result.end() && implicit && store_.read_symlink(found->second.object)) {
        auto link = place;
        link.push_back(name);
        if (path == name) followed_.insert(name);
        linked_.push_back({std::move(link), path, entry});
    } else {
        result[name] = {true, strip(entry.object, path), entry.meta};
    }
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
        const auto other = child_of(written.rivals[i].listed, name);
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
        const auto other = child_of(written.rivals[i].listed, name);
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
            below.push_back({found->second.object, child_of(written.rivals[i].listed, name)});
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
            for (auto name = cut; name != place.end(); ++name) listed = child_of(listed, *name);
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
        const auto path = child_of(listed, entry->first);
        const bool dropped = entry->second.directory ? is_hollow(path, entry->second) : is_whiteout(entry->first);
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
    // Placing one may find further links; each is about a smaller directory, so this ends.
    for (std::size_t index = 0; index < linked_.size(); ++index) {
        const auto linked = linked_[index];
        auto place = store_.resolve(root, linked.place, true);
        const auto path = place;
        const auto rivals = rivals_at(path);
        const auto found = store_.find(root, path);
        if (linked.displaced && found && !found->directory) continue;  // replaced since
        if (linked.displaced) displaced_to_[linked.listed] = path;
        const auto into =
            found && found->directory ? *found : TreeEntry{true, store_.empty_directory().object, linked.upper.meta};
        const auto merged = merge(into.object, linked.upper.object, place, linked.listed, rivals);
        root = store_.replace(root, path, TreeEntry{true, merged, into.meta});
        placed_[path].push_back(index);
    }
    return root;
}

TreeEntry LayerOverlay::place_links(TreeEntry merged, const TreeEntry& lower) {
    TreeEditor root(store_, std::move(merged)), below(store_, lower);
    const auto file_at = [&](TreeEditor& tree, const std::string& path) -> std::optional<TreeEntry> {
        auto found = tree.find(tree.resolve(split_path(path), false));
        if (found && found->directory) found.reset();
        return found;
    };
    for (const auto& path : record_.lost) {
        if (const auto place = place_of(root, path)) lost_.insert(join_path(*place));
    }
    place_rivals(root);
    std::map<std::string, std::string> first;
    for (const auto& [path, target] : record_.links_first) first.emplace(path, target);
    for (const auto& [path, target] : record_.unresolved) {
        const auto place = place_of(root, path);
        if (!place) continue;
        const bool is_first = first.erase(path) > 0;
        auto found = file_at(is_first ? below : root, target);
        if (!found) found = file_at(is_first ? root : below, target);
        if (found) {
            place_link(root, *place, path, found);
        } else if (is_lost(root.resolve(split_path(target), false))) {
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
        if (const auto found = file_at(below, target); found && place) place_link(root, *place, path, found);
    }
    return root.root();
}

void LayerOverlay::place_rivals(TreeEditor& root) {
    std::multimap<std::string, std::string> rivals;
    for (const auto& [path, other] : record_.link_rivals) rivals.emplace(path, other);
    if (rivals.empty()) return;
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
    }
}

std::optional<Path> LayerOverlay::place_of(TreeEditor& root, const std::string& path) const {
    if (!path.starts_with(displaced_directory)) return root.resolve(split_path(path), false);
    for (auto end = path.find('/'); end != std::string::npos; end = path.find('/', end + 1)) {
        const auto displaced = displaced_to_.find(std::string_view(path).substr(0, end));
        if (displaced == displaced_to_.end()) continue;
        auto place = displaced->second;
        const auto rest = split_path(path.substr(end + 1));
        place.insert(place.end(), rest.begin(), rest.end());
        return root.resolve(place, false);
    }
    return std::nullopt;
}

void LayerOverlay::place_link(TreeEditor& root, const Path& place, const std::string& path,
                              const std::optional<TreeEntry>& file) {
    if (linked_.empty()) return root.replace(place, file);
    Path parent(place.begin(), place.end() - 1);
    const auto rivals = rivals_at(parent);
    Written written{{}, rivals};
    for (const auto& rival : rivals) written.directories.push_back(store_.load(rival.tree));
    if (!gives_way(written, place.back(), {}, path)) return root.replace(place, file);
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
