// SPDX-License-Identifier: Apache-2.0
#include "store/tree/tree-store.hpp"

#include <algorithm>
#include <limits>

#include "base/tree-path.hpp"
#include "layer/dirtree.hpp"

namespace imaged {

Directory parse_directory(std::string_view dirtree) {
    auto listing = parse_dirtree(dirtree);
    Directory directory;
    for (auto& file : listing.files) directory.emplace(std::move(file.name), TreeEntry{false, file.object, {}});
    for (auto& child : listing.directories)
        directory.emplace(std::move(child.name), TreeEntry{true, child.tree, child.meta});
    return directory;
}

TreeStore::TreeStore(ObjectSink& sink)
    : sink_(sink),
      default_meta_(
          sink.put_metadata(ObjectType::dirmeta, serialise_dirmeta({0, 0, implicit_directory_mode, nullptr}))) {}

const std::string& TreeStore::bytes_of(const Checksum& tree) {
    if (const auto found = pending_.find(tree); found != pending_.end()) return found->second;
    if (const auto found = read_.find(tree); found != read_.end()) return found->second;
    auto bytes = sink_.read_metadata(ObjectType::dirtree, tree);
    if (read_bytes_ + bytes.size() > max_read_bytes) {
        read_.clear();
        read_bytes_ = 0;
    }
    read_bytes_ += bytes.size();
    return read_.emplace(tree, std::move(bytes)).first->second;
}

Checksum TreeStore::store(const Directory& directory) {
    DirectoryListing listing;
    for (const auto& [name, entry] : directory) {
        if (entry.directory) {
            listing.directories.push_back({name, entry.object, entry.meta});
        } else {
            listing.files.push_back({name, entry.object});
        }
    }
    auto bytes = serialise_dirtree(listing);
    const auto checksum = sha256(bytes);
    if (pending_bytes_ + bytes.size() > max_pending_bytes) spill();
    const auto size = bytes.size();
    if (!spilled_.contains(checksum) && pending_.emplace(checksum, std::move(bytes)).second) pending_bytes_ += size;
    return checksum;
}

void TreeStore::spill() {
    for (const auto& [checksum, bytes] : pending_) {
        sink_.put_metadata(ObjectType::dirtree, bytes);
        spilled_.insert(checksum);
    }
    pending_.clear();
    pending_bytes_ = retained_bytes_ = 0;
}

void TreeStore::retain(std::span<const TreeEntry> roots) {
    // Looking costs as much as what is kept.
    if (pending_bytes_ <= 2 * retained_bytes_ + max_dead_bytes) return;
    std::unordered_map<Checksum, std::string> kept;
    retained_bytes_ = 0;
    std::vector<Checksum> rest;
    for (const auto& root : roots) rest.push_back(root.object);
    while (!rest.empty()) {
        // What is not pending is in the sink with all that it reaches, or is kept already.
        auto tree = pending_.extract(rest.back());
        rest.pop_back();
        if (tree.empty()) continue;
        for (const auto& child : parse_dirtree(tree.mapped()).directories) rest.push_back(child.tree);
        retained_bytes_ += tree.mapped().size();
        kept.insert(std::move(tree));
    }
    pending_ = std::move(kept);
    pending_bytes_ = retained_bytes_;
}

Path TreeStore::resolve(const TreeEntry& root, const Path& path, bool follow_last, const View& view) {
    // The directories on the way; none if the tree has ended.
    using Place = std::optional<TreeEntry>;
    const auto lookup = [&](const Place& parent, const Path& place, const std::string& name, bool is_last) {
        const bool follow = follow_last || !is_last;
        auto found = parent ? find(*parent, {name}) : std::nullopt;
        // Nothing is deeper.
        if (view && follow && place.size() < max_path_depth) {
            auto viewed = place;
            viewed.push_back(name);
            found = view(viewed, found);
        }
        if (!found || found->directory) return PathStep<Place>{found};
        return PathStep<Place>{std::nullopt, follow ? read_symlink(found->object) : std::nullopt};
    };
    return resolve_path(path, Place(root), lookup);
}

std::optional<TreeEntry> TreeStore::find(const TreeEntry& root, const Path& path) {
    auto entry = root;
    for (const auto& component : path) {
        if (!entry.directory) return std::nullopt;
        const auto found = find_in(entry.object, component);
        if (!found) return std::nullopt;
        entry = *found;
    }
    return entry;
}

std::optional<TreeEntry> TreeStore::find_in(const Checksum& tree, const std::string& name) {
    const auto get = [&](const Directory& directory) {
        const auto found = directory.find(name);
        return found == directory.end() ? std::nullopt : std::optional(found->second);
    };
    for (const auto& cached : cached_) {
        if (cached.tree == tree) return get(cached.directory);
    }
    auto directory = load(tree);
    const auto found = get(directory);
    if (directory.size() <= max_cached_entries) {
        cached_[next_cached_] = {tree, std::move(directory)};
        next_cached_ = (next_cached_ + 1) % max_cached;
    }
    return found;
}

TreeEntry TreeStore::replace(const TreeEntry& root, const Path& path, const std::optional<TreeEntry>& entry) {
    if (path.empty()) return entry.value_or(empty_directory());
    return replace_below(root, path, 0, entry);
}

TreeEntry TreeStore::replace_below(const TreeEntry& root, const Path& path, std::size_t depth,
                                   const std::optional<TreeEntry>& entry) {
    auto directory = load(root.object);
    const auto& name = path[depth];
    if (depth + 1 < path.size()) {
        const auto found = directory.find(name);
        const bool usable = found != directory.end() && found->second.directory;
        if (!usable && !entry) return root;
        directory[name] = replace_below(usable ? found->second : empty_directory(), path, depth + 1, entry);
    } else if (entry) {
        directory[name] = *entry;
    } else {
        directory.erase(name);
    }
    return {true, store(directory), root.meta};
}

std::uint32_t TreeStore::count(const TreeEntry& entry) {
    constexpr auto most = std::numeric_limits<std::uint32_t>::max();
    std::uint64_t sum = 0;
    std::vector<TreeEntry> rest{entry};
    while (!rest.empty() && sum < most) {
        const auto next = rest.back();
        rest.pop_back();
        ++sum;
        if (!next.directory) continue;
        for (const auto& [name, inside] : load(next.object)) rest.push_back(inside);
    }
    return static_cast<std::uint32_t>(sum);
}

void TreeStore::finish(const TreeEntry& root) {
    std::unordered_set<Checksum> reached;
    std::vector<Checksum> rest{root.object};
    while (!rest.empty()) {
        const auto tree = rest.back();
        rest.pop_back();
        const auto found = pending_.find(tree);
        if ((found == pending_.end() && !spilled_.contains(tree)) || !reached.insert(tree).second) continue;
        if (found != pending_.end()) sink_.put_metadata(ObjectType::dirtree, found->second);
        for (const auto& child : parse_dirtree(bytes_of(tree)).directories) rest.push_back(child.tree);
    }
    if (!spilled_.empty()) sink_.retain_dirtrees(reached);
}

// Whether PATH leads through an entry that was changed.
bool TreeEditor::is_stale(const Path& path) const {
    return entry_ && path.size() > open_.size() + 1 && std::equal(open_.begin(), open_.end(), path.begin()) &&
           changed_.contains(path[open_.size()]);
}

Path TreeEditor::resolve(const Path& path, bool follow_last, const TreeStore::View& view) {
    if (replaced_ || follow_last) flush();
    auto resolved = store_.resolve(root_, path, follow_last, view);
    if (!is_stale(resolved)) return resolved;
    flush();
    return store_.resolve(root_, path, follow_last, view);
}

std::optional<TreeEntry> TreeEditor::find(const Path& path) {
    if (entry_ && path.size() == open_.size() + 1 && std::equal(open_.begin(), open_.end(), path.begin())) {
        const auto found = directory_.find(path.back());
        return found == directory_.end() ? std::nullopt : std::optional(found->second);
    }
    const bool above = path.size() <= open_.size() && std::equal(path.begin(), path.end(), open_.begin());
    if (above || is_stale(path)) flush();
    return store_.find(root_, path);
}

void TreeEditor::replace(const Path& path, const std::optional<TreeEntry>& entry) {
    const Path parent(path.begin(), path.end() - 1);
    if (!entry_ || parent != open_) {
        flush();
        const auto found = store_.find(root_, parent);
        if (!found || !found->directory) {
            for (auto end = parent.begin(); end != parent.end(); ++end) {
                const auto above = store_.find(root_, Path(parent.begin(), end + 1));
                if (above && !above->directory) return;
            }
            root_ = store_.replace(root_, path, entry);
            return;
        }
        open_ = parent;
        entry_ = found;
        directory_ = store_.load(found->object);
    }
    if (const auto old = directory_.find(path.back()); old != directory_.end()) {
        replaced_ = replaced_ || old->second.directory || store_.read_symlink(old->second.object);
        directory_.erase(old);
    }
    if (entry) directory_[path.back()] = *entry;
    changed_.insert(path.back());
}

void TreeEditor::flush() {
    if (!entry_) return;
    entry_->object = store_.store(directory_);
    root_ = store_.replace(root_, open_, entry_);
    entry_.reset();
    open_.clear();
    directory_.clear();
    changed_.clear();
    replaced_ = false;
}

TreeEntry TreeEditor::root() {
    flush();
    return root_;
}

}  // namespace imaged
