// SPDX-License-Identifier: Apache-2.0
#include "layer/layer-tree.hpp"

#include <algorithm>
#include <functional>

#include "base/error.hpp"
#include "layer/dirtree.hpp"
#include "layer/tar-reader.hpp"

namespace imaged {

namespace {

// As many as Linux follows for one path.
constexpr unsigned max_links = 40;
// Directories written between two times that memory is given back.
constexpr unsigned release_interval = 256;
// Entries looked at between two such times while the table grows: 4 MB of them.
constexpr unsigned rehash_interval = 65536;

}  // namespace

LayerTree::LayerTree() : table_(1024, none) {
    nodes_.push_back({{}, none, none, none, 0, 0, true, false});
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
        // What took turns at one path would otherwise make the table a list.
        const auto &node = nodes_[index], &replaced = nodes_[other];
        if (replaced.dead && replaced.parent == node.parent && name(replaced) == name(node)) break;
    }
    table[slot] = slot_of(index, hash);
}

void LayerTree::release() {
    nodes_.release();
    names_.release();
}

void LayerTree::grow() {
    std::vector<Index> larger(table_.size() * 2, none);
    for (Index index = 1; index < nodes_.size(); ++index) {
        if (index % rehash_interval == 0) release();
        if (!nodes_[index].dead) place(larger, index, hash(nodes_[index].parent, name(nodes_[index])));
    }
    table_ = std::move(larger);
    release();
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
                      static_cast<std::uint32_t>(names_.size()),
                      static_cast<std::uint8_t>(wanted.size()),
                      directory,
                      false});
    nodes_[parent].first_child = index;
    names_.append(wanted.data(), wanted.size());
    place(table_, index, hash(parent, wanted));
    return index;
}

void LayerTree::remove(const Path& path) {
    Index index = 0;
    for (const auto& component : path) {
        index = lookup(index, component);
        if (index == none) return;
    }
    nodes_[index].dead = true;
}

LayerTree::Index LayerTree::make_parents(const Path& path, bool needed) {
    Index parent = 0;
    for (std::size_t i = 0; i + 1 < path.size(); ++i) {
        auto index = lookup(parent, path[i]);
        if (index != none && !nodes_[index].directory) {
            nodes_[index].dead = true;
            index = none;
        }
        if (index == none) index = insert(parent, path[i], true);
        nodes_[index].needed |= needed;
        parent = index;
    }
    return parent;
}

void LayerTree::put_file(const Path& path, const Checksum& object) {
    put(path, object, true);
}

void LayerTree::put_whiteout(const Path& path, const Checksum& object) {
    put(path, object, false);
}

void LayerTree::need_parents(const Path& path) {
    make_parents(path, true);
}

void LayerTree::put(const Path& path, const Checksum& object, bool needed) {
    const auto parent = make_parents(path, needed);
    auto index = lookup(parent, path.back());
    if (index != none && nodes_[index].directory) {
        nodes_[index].dead = true;
        index = none;
    }
    if (index == none) index = insert(parent, path.back(), false);
    nodes_[index].checksum = object;
}

void LayerTree::put_directory(const Path& path, const Checksum& meta) {
    Index index = 0;
    if (!path.empty()) {
        const auto parent = make_parents(path, true);
        index = lookup(parent, path.back());
        if (index != none && !nodes_[index].directory) {
            nodes_[index].dead = true;
            index = none;
        }
        if (index == none) index = insert(parent, path.back(), true);
    }
    nodes_[index].checksum = meta;
    nodes_[index].is_explicit = true;
}

std::optional<LayerTree::Found> LayerTree::find(const Path& path) const {
    Index index = 0;
    for (const auto& component : path) {
        if (!nodes_[index].directory) return std::nullopt;
        index = lookup(index, component);
        if (index == none) return std::nullopt;
    }
    return Found{nodes_[index].directory, nodes_[index].checksum};
}

void LayerTree::spend_link_steps(std::size_t count) {
    link_steps_ += count;
    if (link_steps_ > max_link_steps)
        throw Error(ErrorKind::unsupported_image, "the entries of the layer lead through symbolic links in more than " +
                                                      std::to_string(max_link_steps) + " steps");
}

Path LayerTree::resolve_parents(const Path& path, ObjectSink& sink) {
    Path resolved;
    std::vector<std::string> rest(path.rbegin(), path.rend());
    unsigned links = 0;
    // The index of the directory that RESOLVED names, or none where this layer has nothing there.
    std::vector<Index> chain{0};
    while (!rest.empty()) {
        const auto component = std::move(rest.back());
        rest.pop_back();
        if (component == "..") {
            // Above the root is the root.
            if (!resolved.empty()) {
                resolved.pop_back();
                chain.pop_back();
            }
            continue;
        }
        const auto index = chain.back() == none ? none : lookup(chain.back(), component);
        if (!rest.empty() && index != none && !nodes_[index].directory) {
            if (const auto target = sink.read_symlink(nodes_[index].checksum)) {
                if (++links > max_links)
                    throw Error(ErrorKind::corrupt_input, "too many symbolic links in the parents of an entry");
                if (target->starts_with('/')) {
                    resolved.clear();
                    chain.assign(1, 0);
                }
                Path parts;
                for (std::size_t begin = 0; begin < target->size();) {
                    const auto end = std::min(target->find('/', begin), target->size());
                    const auto part = target->substr(begin, end - begin);
                    begin = end + 1;
                    if (!part.empty() && part != ".") parts.push_back(part);
                }
                rest.insert(rest.end(), parts.rbegin(), parts.rend());
                spend_link_steps(parts.size() + 1);
                continue;
            }
        }
        resolved.push_back(component);
        chain.push_back(index != none && nodes_[index].directory ? index : none);
    }
    if (resolved.size() > max_path_depth)
        throw Error(ErrorKind::unsupported_image, "its parents lead through symbolic links deeper than " +
                                                      std::to_string(max_path_depth) + " levels");
    return resolved;
}

LayerTree::Index LayerTree::move_directory(std::string_view child, const Path& into) {
    Path below = into;
    below.emplace_back(child);
    // Looked up before parents are made: a file in the way must not be replaced by an implicit directory.
    for (std::size_t length = 1; length <= into.size(); ++length) {
        const auto found = find(Path(into.begin(), into.begin() + static_cast<std::ptrdiff_t>(length)));
        if (found && !found->directory)
            throw Error(ErrorKind::unsupported_image, "/" + std::string(child) + " cannot be stored: /" +
                                                          join_path(into) + " is not a directory in this layer");
    }
    return make_parents(below, false);
}

LayerTree::Root LayerTree::write(const PathMapping& mapping, ObjectSink& sink) {
    struct Move {
        std::string_view name;
        Index into;
    };
    std::vector<Move> moves;
    const auto move = [&](std::string_view name, const Path& into) {
        if (lookup(0, name) != none || lookup(0, std::string(whiteout_prefix) + std::string(name)) != none)
            moves.push_back({name, move_directory(name, into)});
    };
    move("etc", etc_parent);
    if (mapping.move_var) move("var", var_parent);
    const auto moved_to = [&](Index child) -> Index {
        if (nodes_[child].parent == 0) {
            for (const auto& [moved, into] : moves) {
                if (is_or_hides(name(nodes_[child]), moved)) return into;
            }
        }
        return nodes_[child].parent;
    };

    const auto implicit_meta =
        sink.put_metadata(ObjectType::dirmeta, serialise_dirmeta({0, 0, implicit_directory_mode, nullptr}));
    Root root;
    std::size_t implicit_bytes = 0;
    unsigned written = 0;
    // Depth is bounded by max_path_depth.
    const std::function<Checksum(Index, const std::string&)> write_directory = [&](Index index,
                                                                                   const std::string& path) {
        if (!nodes_[index].is_explicit) {
            implicit_bytes += path.size() + 1 + sizeof(std::uint32_t);  // with its place in a GVariant
            if (implicit_bytes > max_implicit_bytes)
                throw Error(ErrorKind::unsupported_image, "directories that the layer does not list take more than " +
                                                              std::to_string(max_implicit_bytes / 1024 / 1024) +
                                                              " MiB of paths");
            root.implicit.push_back(path);
        }
        if (!nodes_[index].is_explicit && !nodes_[index].needed && index != 0) root.hollow.push_back(path);
        std::vector<Index> children;
        const auto collect = [&](Index from) {
            for (auto child = nodes_[from].first_child; child != none; child = nodes_[child].next) {
                if (!nodes_[child].dead && moved_to(child) == index) children.push_back(child);
            }
        };
        collect(index);
        for (const auto& [moved, into] : moves) {
            if (into == index) {
                collect(0);
                break;
            }
        }
        std::sort(children.begin(), children.end(),
                  [&](Index a, Index b) { return name(nodes_[a]) < name(nodes_[b]); });
        DirectoryListing listing;
        // Grown in steps, a directory of hundreds of thousands of files would take twice its size.
        const auto directories =
            std::count_if(children.begin(), children.end(), [&](Index child) { return nodes_[child].directory; });
        listing.directories.reserve(static_cast<std::size_t>(directories));
        listing.files.reserve(children.size() - static_cast<std::size_t>(directories));
        for (const auto child : children) {
            const auto& node = nodes_[child];
            const std::string child_name(name(node));
            if (node.directory) {
                // A moved directory's path is the image's own.
                const bool top = node.parent == 0;
                const auto tree = write_directory(child, top || path.empty() ? child_name : path + "/" + child_name);
                listing.directories.push_back({child_name, tree, node.is_explicit ? node.checksum : implicit_meta});
            } else {
                listing.files.push_back({child_name, node.checksum});
            }
        }
        if (++written % release_interval == 0) release();
        return sink.put_metadata(ObjectType::dirtree, serialise_dirtree(listing));
    };
    root.tree = write_directory(0, "");
    root.meta = nodes_[0].is_explicit ? nodes_[0].checksum : implicit_meta;
    std::sort(root.implicit.begin(), root.implicit.end());
    std::sort(root.hollow.begin(), root.hollow.end());
    return root;
}

}  // namespace imaged
