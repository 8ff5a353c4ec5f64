// SPDX-License-Identifier: Apache-2.0
#include "layer/layer-tree.hpp"

#include "base/error.hpp"
#include "base/tree-path.hpp"
#include "layer/dirtree.hpp"

namespace imaged {

LayerTree::LayerTree() : table_(1024, none) {
    nodes_.push_back({{}, none, none, none, 0, 0, 0, true, false});
}

std::uint64_t LayerTree::hash(Index parent, std::string_view name) {
    return (std::hash<std::string_view>()(name) ^ parent) * 0x9e3779b97f4a7c15ULL;
}

LayerTree::Index LayerTree::lookup(Index parent, std::string_view wanted) const {
    const auto hashed = hash(parent, wanted);
    std::size_t probes = 0;
    for (auto slot = hashed & (table_.size() - 1); table_[slot] != none; slot = (slot + 1) & (table_.size() - 1)) {
        if (++probes > max_probes)
            throw Error(ErrorKind::unsupported_image, "names in the layer were chosen to collide");
        const auto index = table_[slot] & index_mask;
        if (table_[slot] != slot_of(index, hashed)) continue;
        const auto& node = nodes_[index];
        if (node.parent == parent && name(node) == wanted) return node.dead ? none : index;
    }
    return none;
}

void LayerTree::place(std::vector<Index>& table, Index index, std::uint64_t hash) const {
    auto slot = hash & (table.size() - 1);
    for (; table[slot] != none; slot = (slot + 1) & (table.size() - 1)) {
        const auto other = table[slot] & index_mask;
        if (table[slot] != slot_of(other, hash)) continue;
        // Otherwise alternating entries at one path would degrade the table to a list.
        const auto &node = nodes_[index], &replaced = nodes_[other];
        if (replaced.dead && replaced.parent == node.parent && name(replaced) == name(node)) break;
    }
    table[slot] = slot_of(index, hash);
}

void LayerTree::grow() {
    std::vector<Index> larger(table_.size() * 2, none);
    for (Index index = 1; index < nodes_.size(); ++index) {
        if (!nodes_[index].dead) place(larger, index, hash(nodes_[index].parent, name(nodes_[index])));
    }
    table_ = std::move(larger);
}

LayerTree::Index LayerTree::insert(Index parent, std::string_view wanted, bool directory) {
    if (nodes_.size() >= max_tree_nodes)
        throw Error(ErrorKind::unsupported_image,
                    "more than the limit of " + std::to_string(max_tree_nodes) + " entries in one layer");
    if (names_.size() + wanted.size() > max_tree_names_bytes)
        throw Error(ErrorKind::unsupported_image, "the names in one layer take more than the limit of " +
                                                      std::to_string(max_tree_names_bytes / 1024 / 1024) + " MiB");
    if ((nodes_.size() + 1) * 3 > table_.size() * 2) grow();
    const auto index = static_cast<Index>(nodes_.size());
    nodes_.push_back({{},
                      parent,
                      nodes_[parent].first_child,
                      none,
                      0,
                      static_cast<std::uint32_t>(names_.size()),
                      static_cast<std::uint8_t>(wanted.size()),
                      directory,
                      false});
    nodes_[parent].first_child = index;
    names_.append(wanted.data(), wanted.size());
    place(table_, index, hash(parent, wanted));
    return index;
}

LayerTree::Index LayerTree::lookup_path(const Path& path) const {
    Index index = 0;
    for (const auto& component : path) {
        index = lookup(index, component);
        if (index == none) break;
    }
    return index;
}

void LayerTree::retire(Index index) {
    const auto path = nodes_[index].directory ? components_of(index) : Path();
    bool implicit = false;
    for (auto above = nodes_[index].parent; above != none && above != 0; above = nodes_[above].parent)
        implicit = implicit || !nodes_[above].is_explicit;
    if (!path.empty() && path.front() != displaced_directory && has_displaced(index, implicit)) {
        Path copy{std::string(displaced_directory)};
        Index above = 0;
        for (const auto& name : path) {
            above = lookup(above, name);
            copy.push_back(name);
            if (nodes_[above].is_explicit) copy_entry(above, copy);
        }
        copy_displaced(index, copy, implicit);
    }
    nodes_[index].dead = true;
}

// Whether the layer put anything below DIRECTORY that a symbolic link of a lower layer may have led elsewhere.
bool LayerTree::has_displaced(Index directory, bool implicit) const {
    implicit = implicit || !nodes_[directory].is_explicit;
    for (auto child = nodes_[directory].first_child; child != none; child = nodes_[child].next) {
        const auto& node = nodes_[child];
        if (node.dead) continue;
        if (implicit && is_listed(node)) return true;
        if (node.directory && has_displaced(child, implicit)) return true;
    }
    return false;
}

void LayerTree::copy_displaced(Index directory, Path& copy, bool implicit) {
    implicit = implicit || !nodes_[directory].is_explicit;
    for (auto child = nodes_[directory].first_child; child != none; child = nodes_[child].next) {
        if (nodes_[child].dead) continue;
        copy.emplace_back(name(nodes_[child]));
        // A directory that is listed is no link.
        if (is_listed(nodes_[child]) && (implicit || nodes_[child].directory)) copy_entry(child, copy);
        if (nodes_[child].directory) copy_displaced(child, copy, implicit);
        copy.pop_back();
    }
}

void LayerTree::copy_entry(Index index, const Path& copy) {
    const auto node = nodes_[index];
    if (node.directory) {
        put_directory(copy, node.checksum);
    } else {
        put_file(copy, node.checksum);
    }
    auto& copied = nodes_[lookup_path(copy)];
    copied.moment = node.moment;
    copied.placeholder = node.placeholder;
    copied.lost = node.lost;
}

LayerTree::Index LayerTree::make_parents(const Path& path, bool needed) {
    Index parent = 0;
    for (std::size_t i = 0; i + 1 < path.size(); ++i) {
        auto index = lookup(parent, path[i]);
        if (index != none && !nodes_[index].directory) {
            retire(index);
            index = none;
        }
        if (index == none) index = insert(parent, path[i], true);
        nodes_[index].needed |= needed;
        parent = index;
    }
    return parent;
}

void LayerTree::put_whiteout(const Path& path, const Checksum& object) {
    has_whiteouts_ = true;
    Index parent = 0;
    for (std::size_t i = 0; i + 1 < path.size() && parent != none; ++i) {
        parent = lookup(parent, path[i]);
        if (parent == none || nodes_[parent].directory) continue;
        note_behind(behind_, behind_bytes_, join_path(path));
        return;
    }
    put(path, object, false);
}

void LayerTree::put_lost(const Path& path, const Checksum& object) {
    remove(path);
    need_parents(path);
    if (path.back().size() + whiteout_prefix.size() > max_name_bytes)
        return;  // too long for a whiteout, and for any file system's file below
    auto whiteout = path;
    whiteout.back().insert(0, whiteout_prefix);
    put_whiteout(whiteout, object);
    nodes_[lookup_path(whiteout)].lost = true;
}

void LayerTree::fill_lost(const Path& path, const Checksum& object) {
    const auto moment = nodes_[lookup_path(path)].moment;
    put_lost(path, object);
    auto whiteout = path;
    whiteout.back().insert(0, whiteout_prefix);
    if (const auto index = lookup_path(whiteout); index != none) nodes_[index].moment = moment;
}

void LayerTree::note_behind(std::vector<std::string>& paths, std::size_t& bytes, std::string path) {
    bytes += path.size() + 1 + sizeof(std::uint32_t);  // with its place in a GVariant
    if (bytes > max_behind_bytes)
        throw Error(ErrorKind::unsupported_image,
                    "the layer has whiteouts below files that it replaces itself, with more than " +
                        std::to_string(max_behind_bytes / 1024 / 1024) + " MiB of paths");
    paths.push_back(std::move(path));
}

void LayerTree::put_opaque(const Path& path, const Checksum& object) {
    auto marker = path;
    marker.emplace_back(opaque_whiteout);
    put(marker, object, true);
}

void LayerTree::put(const Path& path, const Checksum& object, bool needed) {
    const auto parent = make_parents(path, needed);
    auto index = lookup(parent, path.back());
    if (index != none && nodes_[index].directory) {
        retire(index);
        index = none;
    }
    if (index == none) index = insert(parent, path.back(), false);
    nodes_[index].checksum = object;
    nodes_[index].needed = needed;
    nodes_[index].placeholder = false;
    nodes_[index].moment = ++now_;
}

void LayerTree::put_placeholder(const Path& path) {
    put(path, {}, true);
    nodes_[lookup_path(path)].placeholder = true;
}

bool LayerTree::has_placeholder(const Path& path) const {
    const auto index = lookup_path(path);
    return index != none && nodes_[index].placeholder;
}

std::optional<std::uint32_t> LayerTree::placeholder_moment(const Path& path) const {
    return has_placeholder(path) ? std::optional(nodes_[lookup_path(path)].moment) : std::nullopt;
}

void LayerTree::fill(const Path& path, const Checksum& object) {
    auto& node = nodes_[lookup_path(path)];
    node.checksum = object;
    node.placeholder = false;
}

void LayerTree::put_directory(const Path& path, const Checksum& meta) {
    Index index = 0;
    if (!path.empty()) {
        const auto parent = make_parents(path, true);
        index = lookup(parent, path.back());
        if (index != none && !nodes_[index].directory) {
            retire(index);
            index = none;
        }
        if (index == none) index = insert(parent, path.back(), true);
    }
    nodes_[index].checksum = meta;
    nodes_[index].moment = ++now_;
    nodes_[index].is_explicit = true;
}

std::optional<LayerTree::Found> LayerTree::find(const Path& path) const {
    const auto index = lookup_path(path);
    if (index == none) return std::nullopt;
    const auto& node = nodes_[index];
    if (node.placeholder || (node.directory && !node.is_explicit && !node.needed && index != 0)) return std::nullopt;
    return Found{node.directory, !node.directory || node.is_explicit, node.checksum};
}

void LayerTree::spend_link_steps(std::size_t count) {
    link_steps_ += count;
    if (link_steps_ > max_link_steps)
        throw Error(ErrorKind::unsupported_image, "the entries of the layer lead through symbolic links in more than " +
                                                      std::to_string(max_link_steps) + " steps");
}

Path LayerTree::resolve_parents(const Path& path, const ReadLink& read_link) {
    // The index of a directory, or none if this layer has nothing there.
    return resolve_path(path, Index{0}, [&](Index parent, const Path&, const std::string& name, bool is_last) {
        const auto index = parent == none ? none : lookup(parent, name);
        if (index == none || nodes_[index].directory) return PathStep<Index>{index};
        if (!is_last && nodes_[index].placeholder)
            throw Error(ErrorKind::unsupported_image,
                        "its parent \"" + path_of(index) + "\" is a hard link to a file outside of this layer");
        auto target = is_last ? std::nullopt : read_link(nodes_[index].checksum);
        if (target) spend_link_steps(split_path(*target).size() + 1);
        return PathStep<Index>{none, std::move(target)};
    });
}

}  // namespace imaged
