// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <functional>

#include "base/error.hpp"
#include "base/tree-path.hpp"
#include "layer/derived-layer.hpp"
#include "layer/dirtree.hpp"
#include "layer/layer-tree.hpp"

namespace imaged {

namespace {

bool is_whiteout(std::string_view name) {
    return name.starts_with(whiteout_prefix);
}

}  // namespace

// Writes the live entries, in the layout of a commit.
class LayerTree::Writer {
    // Paths for the layer's commit, as long as they take no more than max_directories_bytes; otherwise none.
    class PathList {
    public:
        void add(const std::string& path) {
            bytes_ += path.size() + 1 + sizeof(std::uint32_t);  // with its place in a GVariant
            ++count_;
            if (fits())
                paths_.append(path) += '\0';
            else
                paths_ = {};
        }
        bool fits() const { return bytes_ <= max_directories_bytes; }
        std::vector<std::string> sorted() {
            std::vector<std::string> sorted;
            sorted.reserve(fits() ? count_ : 0);
            for (std::size_t begin = 0, end = 0; begin < paths_.size(); begin = end + 1) {
                end = paths_.find('\0', begin);
                sorted.push_back(paths_.substr(begin, end - begin));
            }
            paths_ = {};
            std::sort(sorted.begin(), sorted.end());
            return sorted;
        }

    private:
        std::string paths_;  // each with a NUL behind it
        std::size_t count_ = 0, bytes_ = 0;
    };

public:
    Writer(LayerTree& tree, const PathMapping& mapping, ObjectSink& sink)
        : tree_(tree),
          sink_(sink),
          implicit_meta_(
              sink.put_metadata(ObjectType::dirmeta, serialise_dirmeta({0, 0, implicit_directory_mode, nullptr}))) {
        for (const auto& move : mapping.moves()) {
            if (tree.lookup(0, move.name) != none || tree.lookup(0, std::string(whiteout_prefix) + move.name) != none)
                moves_.push_back({&move, tree.move_directory(move), true});
            else if (const auto place = tree.lookup_path(move.parent); place != none)
                moves_.push_back({&move, place, false});
        }
        for (const auto& move : moves_) hidden_asides_.push_back(std::string(whiteout_prefix) + move.to->aside);
    }

    Root write() {
        root_.tree = directory(0, "");
        const auto& top = tree_.nodes_[0];
        root_.meta = top.is_explicit ? top.checksum : implicit_meta_;
        if (!whiteout_only_.fits() || (!implicit_.fits() && !listed_.fits()))
            throw Error(ErrorKind::unsupported_image,
                        "directories that the layer does not list, and those that it does, "
                        "each take more than " +
                            std::to_string(max_directories_bytes / 1024 / 1024) + " MiB of paths");
        if (!implicit_.fits()) root_.listed = listed_.sorted();
        root_.implicit = implicit_.sorted();
        root_.whiteout_only = whiteout_only_.sorted();
        return std::move(root_);
    }

private:
    struct Move {
        const MovedDirectory* to;
        Index into;
        bool brings;  // whether there is anything to move
    };

    // Where the commit has the entry.
    Index parent_of(Index child) const {
        const auto& node = tree_.nodes_[child];
        if (node.parent == 0) {
            for (const auto& move : moves_) {
                if (is_or_hides(tree_.name(node), move.to->name)) return move.into;
            }
        }
        return node.parent;
    }

    // What the commit calls it.
    std::string_view name_of(Index child) const {
        const auto& node = tree_.nodes_[child];
        const auto own = tree_.name(node);
        for (std::size_t i = 0; i < moves_.size(); ++i) {
            if (node.parent != moves_[i].into || !is_or_hides(own, moves_[i].to->name)) continue;
            return is_whiteout(own) ? std::string_view(hidden_asides_[i]) : std::string_view(moves_[i].to->aside);
        }
        return own;
    }

    void note_directory(const Node& node, bool is_root, const std::string& path) {
        if (node.is_explicit) {
            if (node.checksum == implicit_meta_) listed_.add(path);
            return;
        }
        implicit_.add(path);
        if (!node.needed && !is_root) whiteout_only_.add(path);
    }

    // Calls TAKE with each entry that the commit has in the directory, in no order.
    template <typename Take>
    void each_child(Index directory, Take&& take) const {
        const auto each_of = [&](Index from) {
            for (auto child = tree_.nodes_[from].first_child; child != none; child = tree_.nodes_[child].next) {
                const auto& node = tree_.nodes_[child];
                if (!node.dead && !node.placeholder && parent_of(child) == directory) take(child, node);
            }
        };
        each_of(directory);
        if (std::any_of(moves_.begin(), moves_.end(),
                        [&](const auto& move) { return move.brings && move.into == directory; }))
            each_of(0);
    }

    // Depth is bounded by max_path_depth. Entries of one directory may lie far apart, so they are looked at in the
    // order of their nodes, and what is sorted are copies.
    Checksum directory(Index index, const std::string& path) {
        note_directory(tree_.nodes_[index], index == 0, path);
        std::vector<std::pair<std::string, Index>> directories;
        std::size_t files = 0;
        each_child(index, [&](Index child, const Node& node) {
            if (node.parent == 0) note_top(node);
            if (node.directory)
                directories.emplace_back(name_of(child), child);
            else
                ++files;
        });
        std::sort(directories.begin(), directories.end());
        DirectoryListing listing;
        listing.directories.reserve(directories.size());
        for (auto& [stored, child] : directories) {
            const auto& node = tree_.nodes_[child];
            // A moved directory's path is the image's own.
            const std::string own(tree_.name(node));
            const auto tree = directory(child, node.parent == 0 ? own : join_path(path, own));
            listing.directories.push_back({std::move(stored), tree, node.is_explicit ? node.checksum : implicit_meta_});
        }
        directories = {};
        // Grown in steps, a directory of hundreds of thousands of files would take twice its size.
        listing.files.reserve(files);
        each_child(index, [&](Index child, const Node& node) {
            if (!node.directory) listing.files.push_back({std::string(name_of(child)), node.checksum});
        });
        std::sort(listing.files.begin(), listing.files.end(),
                  [](const auto& a, const auto& b) { return a.name < b.name; });
        return sink_.put_metadata(ObjectType::dirtree, serialise_dirtree(listing));
    }

    void note_top(const Node& node) {
        auto name = tree_.name(node);
        const bool directory = node.directory || is_whiteout(name);
        if (is_whiteout(name)) name.remove_prefix(whiteout_prefix.size());
        if (name != "usr" && name != "etc" && name != "var" && !(directory && is_runtime_directory(name)))
            root_.more_than_deployed = true;
    }

    LayerTree& tree_;
    ObjectSink& sink_;
    const Checksum implicit_meta_;
    std::vector<Move> moves_;
    std::vector<std::string> hidden_asides_;
    Root root_;
    PathList implicit_, listed_, whiteout_only_;
};

LayerTree::Index LayerTree::move_directory(const MovedDirectory& move) {
    // Looked up before parents are made: a file in the way must not be replaced by an implicit directory.
    for (std::size_t length = 1; length <= move.parent.size(); ++length) {
        const auto found = find(Path(move.parent.begin(), move.parent.begin() + static_cast<std::ptrdiff_t>(length)));
        if (found && !found->directory)
            throw Error(ErrorKind::unsupported_image, "/" + move.name + " cannot be stored: /" +
                                                          join_path(move.parent) + " is not a directory in this layer");
    }
    return make_parents(move.place(), false);
}

LayerTree::Root LayerTree::write(const PathMapping& mapping, ObjectSink& sink) {
    auto in_order = order(mapping);
    by_name_ = {};
    auto root = Writer(*this, mapping, sink).write();
    root.order = std::move(in_order);
    root.behind = whiteouts_behind();
    return root;
}

Path LayerTree::components_of(Index index) const {
    Path reversed;
    for (; index != 0; index = nodes_[index].parent) reversed.emplace_back(subject(nodes_[index]));
    return {reversed.rbegin(), reversed.rend()};
}

std::string LayerTree::path_of(Index index) const {
    return join_path(components_of(index));
}

bool LayerTree::is_listed(const Node& node) const {
    return node.directory ? node.is_explicit : node.lost || !is_whiteout(name(node));
}

std::string_view LayerTree::subject(const Node& node) const {
    auto found = name(node);
    if (node.lost) found.remove_prefix(whiteout_prefix.size());
    return found;
}

bool LayerTree::is_reachable(Index index) const {
    for (; index != 0; index = nodes_[index].parent) {
        if (nodes_[index].dead) return false;
    }
    return true;
}

std::vector<std::string> LayerTree::whiteouts_behind() {
    auto found = std::move(behind_);
    if (!has_whiteouts_) return found;
    const std::function<void(Index)> look_below = [&](Index directory) {
        for (auto child = nodes_[directory].first_child; child != none; child = nodes_[child].next) {
            const auto& node = nodes_[child];
            // What is dead is looked at by itself.
            if (node.dead) continue;
            if (node.directory)
                look_below(child);
            else if (!is_listed(node) && !node.needed)
                note_behind(found, behind_bytes_, path_of(child));
        }
    };
    for (Index index = 1; index < nodes_.size(); ++index) {
        if (nodes_[index].dead && nodes_[index].directory) look_below(index);
    }
    std::sort(found.begin(), found.end());
    found.erase(std::unique(found.begin(), found.end()), found.end());
    return found;
}

const std::vector<std::uint64_t>& LayerTree::names() {
    if (by_name_at_ == now_ && !by_name_.empty()) return by_name_;
    by_name_.clear();
    // Never more: grown in steps, it would take twice its size.
    by_name_.reserve(nodes_.size());
    for (Index index = 1; index < nodes_.size(); ++index) {
        if (nodes_[index].dead || !is_listed(nodes_[index])) continue;
        by_name_.push_back(hash(0, subject(nodes_[index])) << index_bits | index);
    }
    std::sort(by_name_.begin(), by_name_.end());
    by_name_at_ = now_;
    return by_name_;
}

std::optional<std::uint32_t> LayerTree::first_moment(std::string_view wanted) {
    const auto& all = names();
    const auto prefix = hash(0, wanted) << index_bits;
    std::optional<std::uint32_t> first;
    for (auto entry = std::lower_bound(all.begin(), all.end(), prefix);
         entry != all.end() && *entry <= (prefix | index_mask); ++entry) {
        const auto& node = nodes_[static_cast<Index>(*entry & index_mask)];
        if (!node.placeholder && (!first || node.moment < *first)) first = node.moment;
    }
    return first;
}

// If all directories are listed, no link of a lower layer leads anything elsewhere.
bool LayerTree::has_implicit() const {
    for (Index index = 1; index < nodes_.size(); ++index) {
        const auto& node = nodes_[index];
        if (node.directory && !node.dead && !node.is_explicit && node.needed) return true;
    }
    return false;
}

bool LayerTree::has_waiting() const {
    for (Index index = 1; index < nodes_.size(); ++index) {
        if (nodes_[index].placeholder && !nodes_[index].dead) return true;
    }
    return false;
}

bool LayerTree::has_implicit_parent(Index index) const {
    for (index = nodes_[index].parent; index != 0; index = nodes_[index].parent) {
        if (!nodes_[index].is_explicit) return true;
    }
    return false;
}

std::vector<std::string> LayerTree::files_between(const Path& target, const Path& path) {
    const auto first = lookup_path(target), last = lookup_path(path);
    if (first == none || last == none) return {};
    const auto& all = names();
    const auto prefix = hash(0, name(nodes_[first])) << index_bits;
    std::vector<Index> found;
    for (auto entry = std::lower_bound(all.begin(), all.end(), prefix);
         entry != all.end() && *entry <= (prefix | index_mask) && ++compared_ < max_compared; ++entry) {
        const auto index = static_cast<Index>(*entry & index_mask);
        const auto& node = nodes_[index];
        if (node.moment > nodes_[first].moment && node.moment < nodes_[last].moment && !node.directory &&
            !node.placeholder && !node.lost && is_reachable(index) &&
            (has_implicit_parent(index) || has_implicit_parent(first)))
            found.push_back(index);
    }
    return paths_by_moment(std::move(found));
}

void LayerTree::sort_by_moment(std::vector<Index>& entries) const {
    std::vector<std::pair<std::uint32_t, Index>> with_moments;
    with_moments.reserve(entries.size());
    for (const auto index : entries) with_moments.emplace_back(nodes_[index].moment, index);
    std::sort(with_moments.begin(), with_moments.end());
    std::transform(with_moments.begin(), with_moments.end(), entries.begin(),
                   [](const auto& pair) { return pair.second; });
}

std::vector<std::string> LayerTree::paths_by_moment(std::vector<Index> entries) const {
    sort_by_moment(entries);
    std::vector<std::string> paths;
    for (const auto index : entries) paths.push_back(path_of(index));
    return paths;
}

std::vector<std::string> LayerTree::order(const PathMapping& mapping) {
    if (!has_implicit() && !has_waiting()) return {};
    if (const auto whole = whole_order(mapping)) return *whole;
    return order_of_namesakes(mapping);
}

// Whether the order of entries keeps this one.
bool LayerTree::has_place_in_order(Index index) const {
    const auto& node = nodes_[index];
    if (node.dead || !is_listed(node) || !is_reachable(index)) return false;
    if (!node.lost) return true;
    // What took the place of one that is lost came later.
    const auto other = lookup(node.parent, subject(node));
    return other == none || !is_listed(nodes_[other]);
}

// Whether a commit has two entries of one directory in the order of their own names.
bool LayerTree::is_stored_by_name(Index directory) const {
    // Deeper than what moves.
    constexpr unsigned depth = 4;
    for (unsigned above = 0; above < depth; ++above) {
        if (directory == 0) return false;
        directory = nodes_[directory].parent;
    }
    return true;
}

std::optional<std::vector<std::string>> LayerTree::whole_order(const PathMapping& mapping) {
    const auto stored_path = [&](Index index) { return mapping.stored(components_of(index)); };
    std::vector<Index> kept;
    std::size_t bytes = 0;
    bool sorted = true;
    Index last = 0;
    for (Index index = 1; index < nodes_.size(); ++index) {
        if (!has_place_in_order(index)) continue;
        if (sorted && last != 0) {
            const auto &before = nodes_[last], &node = nodes_[index];
            const bool by_name = before.parent == node.parent && is_stored_by_name(node.parent);
            sorted = before.moment < node.moment &&
                     (by_name ? subject(before) <= subject(node) : stored_path(last) <= stored_path(index));
        }
        last = index;
        if (bytes <= max_order_bytes) {
            bytes += path_of(index).size() + 1 + sizeof(std::uint32_t);
            kept.push_back(index);
        } else if (!sorted) {
            return std::nullopt;
        }
    }
    if (sorted) return std::vector<std::string>();
    if (bytes > max_order_bytes) return std::nullopt;
    return paths_by_moment(std::move(kept));
}

// What lower links may lead to one place has one name.
std::vector<std::string> LayerTree::order_of_namesakes(const PathMapping& mapping) {
    const auto has_implicit_parent = [&](Index index) { return this->has_implicit_parent(index); };
    const auto stored_path = [&](Index index) { return mapping.stored(components_of(index)); };
    std::vector<Index> kept;
    std::size_t bytes = 0;
    const auto& all = names();
    std::vector<Index> group;
    for (std::size_t i = 0; i < all.size();) {
        group.clear();
        const auto prefix = all[i] >> index_bits;
        for (; i < all.size() && all[i] >> index_bits == prefix; ++i)
            group.push_back(static_cast<Index>(all[i] & index_mask));
        if (group.size() < 2 || std::none_of(group.begin(), group.end(), has_implicit_parent)) continue;
        std::erase_if(group, [&](Index index) { return !has_place_in_order(index); });
        sort_by_moment(group);
        Path last;
        bool sorted = true;
        for (const auto index : group) {
            auto path = stored_path(index);
            sorted = sorted && last <= path;
            if (!sorted) break;
            last = std::move(path);
        }
        if (sorted) continue;
        for (const auto index : group) {
            kept.push_back(index);
            bytes += path_of(index).size() + 1 + sizeof(std::uint32_t);
        }
        if (bytes > max_order_bytes) return {};
    }
    return paths_by_moment(std::move(kept));
}

}  // namespace imaged
