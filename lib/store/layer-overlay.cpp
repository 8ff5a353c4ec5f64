// SPDX-License-Identifier: Apache-2.0
#include "store/layer-overlay.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "layer/tar-reader.hpp"

namespace imaged {

namespace {

bool is_whiteout(std::string_view name) {
    return name.starts_with(whiteout_prefix);
}

std::string child_of(const std::string& directory, const std::string& name) {
    return directory.empty() ? name : directory + "/" + name;
}

// A layer's tree holds /var where a commit does; its record speaks of the image's own path.
std::string own_path(const std::string& path, bool moved_var) {
    static const std::string moved = join_path(var_parent) + "/var";
    if (moved_var && path.starts_with(moved) && (path.size() == moved.size() || path[moved.size()] == '/'))
        return path.substr(moved.size() - 3);
    return path;
}

}  // namespace

LayerOverlay::LayerOverlay(TreeStore& store, const LayerRecord& record) : store_(store), record_(record) {}

bool LayerOverlay::is_implicit(const std::string& listed, const Checksum& meta) const {
    if (!record_.has_implicit) return meta == store_.default_meta();
    return record_.implicit_directories.contains(own_path(listed, record_.moved_var));
}

bool LayerOverlay::is_hollow(const std::string& listed, const TreeEntry& upper) {
    if (!record_.has_whiteouts || !is_implicit(listed, upper.meta)) return false;
    if (record_.has_implicit) return record_.hollow_directories.contains(own_path(listed, record_.moved_var));
    const auto directory = store_.load(upper.object);
    return !directory.empty() && std::all_of(directory.begin(), directory.end(), [&](const auto& entry) {
        return entry.second.directory ? is_hollow(child_of(listed, entry.first), entry.second)
                                      : is_whiteout(entry.first);
    });
}

TreeEntry LayerOverlay::apply(const TreeEntry& lower, const TreeEntry& upper) {
    grafts_.clear();
    Path place;
    const TreeEntry merged{true, merge(lower.object, upper.object, place, ""),
                           is_implicit("", upper.meta) ? lower.meta : upper.meta};
    return place_links(place_grafts(merged), lower);
}

TreeEntry LayerOverlay::apply(const TreeEntry& upper) {
    const TreeEntry nothing = store_.empty_directory();
    return place_links({true, strip(upper.object, ""), upper.meta}, nothing);
}

Checksum LayerOverlay::merge(const Checksum& lower, const Checksum& upper, Path& place, const std::string& listed) {
    auto result = store_.load(lower);
    const auto before = result;
    const auto added = store_.load(upper);
    if (added.contains(opaque_whiteout)) result.clear();
    for (const auto& [name, entry] : added) {
        if (!entry.directory && is_whiteout(name)) result.erase(name.substr(whiteout_prefix.size()));
    }
    for (const auto& [name, entry] : added) {
        if (!entry.directory) {
            if (!is_whiteout(name)) result[name] = entry;
            continue;
        }
        const auto path = child_of(listed, name);
        const auto found = result.find(name);
        const bool is_directory = found != result.end() && found->second.directory;
        const bool hollow = !is_directory && is_hollow(path, entry);
        if (is_directory) {
            place.push_back(name);
            auto& existing = found->second;
            existing.object = merge(existing.object, entry.object, place, path);
            if (!is_implicit(path, entry.meta)) existing.meta = entry.meta;
            place.pop_back();
        } else if (found != result.end() && is_implicit(path, entry.meta) &&
                   store_.read_symlink(found->second.object)) {
            auto link = place;
            link.push_back(name);
            grafts_.push_back({std::move(link), path, entry, hollow});
        } else if (!hollow) {
            result[name] = {true, strip(entry.object, path), entry.meta};
        }
    }
    return result == before ? lower : store_.store(result);
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

TreeEntry LayerOverlay::place_grafts(TreeEntry root) {
    // Placing one may find further links; each is about a smaller directory, so this ends.
    while (!grafts_.empty()) {
        const auto graft = std::move(grafts_.back());
        grafts_.pop_back();
        auto place = store_.resolve(root, graft.place, true);
        if (place.empty()) {
            root.object = merge(root.object, graft.upper.object, place, graft.listed);
            continue;
        }
        const auto found = store_.find(root, place);
        const auto path = place;
        if (found && found->directory) {
            root = store_.replace(
                root, path,
                TreeEntry{true, merge(found->object, graft.upper.object, place, graft.listed), found->meta});
        } else if (!graft.hollow) {
            root =
                store_.replace(root, path, TreeEntry{true, strip(graft.upper.object, graft.listed), graft.upper.meta});
        }
    }
    return root;
}

TreeEntry LayerOverlay::place_links(TreeEntry root, const TreeEntry& lower) {
    for (const auto& [path, target] : record_.unresolved) {
        const auto found = store_.find(lower, store_.resolve(lower, split_path(target), false));
        if (!found || found->directory)
            throw Error(ErrorKind::corrupt_input, "hard link \"" + path + "\": there is no file \"" + target +
                                                      "\" in this layer or in one below it");
        root = store_.replace(root, store_.resolve(root, split_path(path), false), found);
    }
    return root;
}

}  // namespace imaged
