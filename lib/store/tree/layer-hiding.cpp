// SPDX-License-Identifier: Apache-2.0
#include "store/tree/layer-hiding.hpp"

#include <map>

#include "base/tree-path.hpp"
#include "store/tree/layer-overlay.hpp"

namespace imaged {

namespace {

// Takes what the whiteout NAME hides out of DIRECTORY.
void hide_in(Directory& directory, std::string_view name) {
    if (name == opaque_whiteout) {
        directory.clear();
    } else if (const auto found = directory.find(name.substr(whiteout_prefix.size())); found != directory.end()) {
        directory.erase(found);
    }
}

}  // namespace

bool is_whiteout(std::string_view name) {
    return name.starts_with(whiteout_prefix);
}

TreeEntry LayerHiding::apply(const TreeEntry& lower, const TreeEntry& upper) {
    if (!record_.has_whiteouts) return lower;
    Path place;
    return hide_behind(hide_through_links({true, hide(lower.object, upper.object, place, ""), lower.meta}));
}

Checksum LayerHiding::hide(const Checksum& lower, const Checksum& upper, Path& place, const std::string& listed) {
    auto result = store_.load(lower);
    const auto before = result;
    const auto added = store_.load(upper);
    for (const auto& [name, entry] : added) {
        if (!entry.directory && is_whiteout(name) && !overlay_.is_lost_entry(listed, name)) hide_in(result, name);
    }
    for (const auto& [name, entry] : added) {
        const auto found = result.find(name);
        if (!entry.directory || found == result.end()) continue;
        const auto path = join_path(listed, name);
        place.push_back(name);
        if (found->second.directory) {
            found->second.object = hide(found->second.object, entry.object, place, path);
        } else if (overlay_.is_implicit(path, entry.meta) && store_.read_symlink(found->second.object)) {
            linked_.push_back({place, path, entry});
        }
        place.pop_back();
    }
    return result == before ? lower : store_.store(result);
}

TreeEntry LayerHiding::hide_through_links(TreeEntry root) {
    // One may find further links; each is about a smaller directory, so this ends.
    while (!linked_.empty()) {
        const auto linked = std::move(linked_.back());
        linked_.pop_back();
        auto place = store_.resolve(root, linked.place, true);
        const auto found = store_.find(root, place);
        if (!found || !found->directory) continue;
        const auto path = place;
        root = store_.replace(
            root, path, TreeEntry{true, hide(found->object, linked.upper.object, place, linked.listed), found->meta});
    }
    return root;
}

TreeEntry LayerHiding::hide_behind(TreeEntry root) {
    // Each directory is written once, however many whiteouts are about it.
    std::map<Path, std::vector<std::string>> names;
    for (const auto& whiteout : record_.whiteouts_behind) {
        auto path = split_path(whiteout);
        auto name = std::move(path.back());
        path.pop_back();
        names[store_.resolve(root, path, true)].push_back(std::move(name));
    }
    for (const auto& [path, hidden] : names) {
        const auto found = store_.find(root, path);
        if (!found || !found->directory) continue;
        auto directory = store_.load(found->object);
        for (const auto& name : hidden) hide_in(directory, name);
        root = store_.replace(root, path, TreeEntry{true, store_.store(directory), found->meta});
    }
    return root;
}

}  // namespace imaged
