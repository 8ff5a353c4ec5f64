// SPDX-License-Identifier: Apache-2.0
#include "store/tree/commit-layout.hpp"

#include <limits>

#include "base/error.hpp"
#include "base/tree-path.hpp"

namespace imaged {

namespace {

std::string whiteout_of(std::string_view name) {
    return std::string(whiteout_prefix) + std::string(name);
}

Path child(Path place, const std::string& name) {
    place.push_back(name);
    return place;
}

// Where a link at PLACE leads, by its text alone.
Path destination(const Path& place, std::string_view target) {
    Path path;
    if (!target.starts_with('/')) path.assign(place.begin(), place.end() - 1);
    for (std::size_t begin = 0; begin < target.size();) {
        const auto end = std::min(target.find('/', begin), target.size());
        const auto part = target.substr(begin, end - begin);
        begin = end + 1;
        if (part == "..") {
            if (!path.empty()) path.pop_back();
        } else if (!part.empty() && part != ".") {
            path.emplace_back(part);
        }
    }
    return path;
}

}  // namespace

TreeEntry CommitLayout::own_base(TreeEntry root) {
    root = bring_up(root, mapping_.moves().front(), nullptr);
    if (mapping_.move_var) {
        base_var_ = store_.find(root, {"var"});
        root = store_.replace(root, {"var"}, std::nullopt);
    }
    return root;
}

TreeEntry CommitLayout::own_layer(TreeEntry root, const LayerRecord& record) {
    for (const auto& move : mapping_.moves()) {
        root = bring_up(root, move, &record);
        root = name_aside(root, move);
    }
    return root;
}

// Moves what the commit has of NAME and its whiteout to the root.
TreeEntry CommitLayout::bring_up(TreeEntry root, const MovedDirectory& move, const LayerRecord* record) {
    const auto from = store_.find(root, move.parent);
    if (!from || !from->directory) return root;
    auto directory = store_.load(from->object);
    bool moved = false;
    for (const auto& entry : {move.name, whiteout_of(move.name)}) {
        const auto found = directory.find(entry);
        if (found == directory.end() || store_.find(root, {entry})) continue;
        // Programs without such a record move directories, never whiteouts of them.
        if (entry != move.name && record != nullptr && !record->has_implicit) continue;
        root = store_.replace(root, {entry}, found->second);
        directory.erase(found);
        moved = true;
    }
    if (!moved) return root;
    root = store_.replace(root, move.parent, TreeEntry{true, store_.store(directory), from->meta});
    return record == nullptr ? root : drop_implied(root, move.parent, *record);
}

// What the image itself has at the place of the moved directory gets its name back.
TreeEntry CommitLayout::name_aside(const TreeEntry& root, const MovedDirectory& move) {
    const auto parent = store_.find(root, move.parent);
    if (!parent || !parent->directory) return root;
    auto directory = store_.load(parent->object);
    bool renamed = false;
    const std::pair<std::string, std::string> names[] = {{move.aside, move.name},
                                                         {whiteout_of(move.aside), whiteout_of(move.name)}};
    for (const auto& [aside, name] : names) {
        const auto found = directory.find(aside);
        if (found == directory.end()) continue;
        directory[name] = found->second;
        directory.erase(found);
        renamed = true;
    }
    return renamed ? store_.replace(root, move.parent, TreeEntry{true, store_.store(directory), parent->meta}) : root;
}

// Directories that were made for nothing but what moved.
TreeEntry CommitLayout::drop_implied(TreeEntry root, Path path, const LayerRecord& record) {
    const auto empty = store_.empty_directory().object;
    for (; !path.empty(); path.pop_back()) {
        const auto found = store_.find(root, path);
        const bool implied = record.is_implicit(join_path(path), found->meta == store_.default_meta());
        if (found->object != empty || !implied) break;
        root = store_.replace(root, path, std::nullopt);
    }
    return root;
}

TreeEntry CommitLayout::committed(TreeEntry root) {
    for (const auto& move : mapping_.moves()) root = take_down(root, move);
    return base_var_ ? store_.replace(root, {"var"}, base_var_) : root;
}

TreeEntry CommitLayout::take_down(const TreeEntry& root, const MovedDirectory& move) {
    const auto own = store_.find(root, {move.name});
    if (!own) {
        const auto beside = store_.find(root, move.place());
        const bool to_nothing = beside && leads(*beside, move.place(), {move.name});
        return to_nothing ? store_.replace(root, move.place(), std::nullopt) : root;
    }
    for (std::size_t length = 1; length <= move.parent.size(); ++length) {
        const auto place =
            store_.find(root, Path(move.parent.begin(), move.parent.begin() + static_cast<std::ptrdiff_t>(length)));
        if (place && !place->directory)
            throw Error(ErrorKind::unsupported_image, "/" + move.name + " cannot be stored: /" +
                                                          join_path(move.parent) + " is not a directory in this image");
    }
    const auto kept = one_of(root, move, *own);
    auto result = store_.replace(root, {move.name}, std::nullopt);
    if (kept || store_.find(result, move.place())) result = store_.replace(result, move.place(), kept);
    return result;
}

// What the commit's one directory is made of.
std::optional<TreeEntry> CommitLayout::one_of(const TreeEntry& root, const MovedDirectory& move, const TreeEntry& own) {
    const auto beside = store_.find(root, move.place());
    const auto leads_to = [&](const TreeEntry& entry, const Path& place, const Path& target) {
        if (leads(entry, place, target)) return true;
        if (entry.directory || !store_.read_symlink(entry.object)) return false;
        try {
            return store_.resolve(root, place, true) == target;
        } catch (const Error&) {
            return false;  // in a circle, to no end
        }
    };
    const bool adds_nothing = leads_to(own, {move.name}, move.place());
    if (beside && leads_to(*beside, move.place(), {move.name})) return adds_nothing ? std::nullopt : std::optional(own);
    if (adds_nothing) return beside;
    if (!beside) return own;
    lost_now_ = 0;
    auto kept = own;
    if (own.directory && beside->directory) {
        kept.object = lay_under(own.object, beside->object, {move.name}, move.place());
    } else if (own != *beside) {
        lost_now_ = store_.count(*beside);
    }
    if (lost_now_ > 0) lost_[join_path(move.place())] += lost_now_;
    return kept;
}

// The directory OWN, and what only BESIDE has. Depth is bounded by max_path_depth.
Checksum CommitLayout::lay_under(const Checksum& own, const Checksum& beside, const Path& own_place,
                                 const Path& beside_place) {
    if (own == beside) return own;
    auto result = store_.load(own);
    const auto before = result;
    for (const auto& [name, entry] : store_.load(beside)) {
        const auto here = child(own_place, name), there = child(beside_place, name);
        if (leads(entry, there, here)) continue;
        const auto found = result.find(name);
        if (found == result.end()) {
            result[name] = entry;
        } else if (found->second.directory && entry.directory) {
            found->second.object = lay_under(found->second.object, entry.object, here, there);
        } else if (leads(found->second, here, there)) {
            found->second = entry;
        } else if (found->second != entry) {
            const auto more = store_.count(entry);
            lost_now_ += std::min(more, std::numeric_limits<std::uint32_t>::max() - lost_now_);
        }
    }
    return result == before ? own : store_.store(result);
}

bool CommitLayout::leads(const TreeEntry& entry, const Path& place, const Path& target) {
    if (entry.directory) return false;
    const auto text = store_.read_symlink(entry.object);
    return text && destination(place, *text) == target;
}

}  // namespace imaged
