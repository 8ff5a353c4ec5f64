// SPDX-License-Identifier: Apache-2.0
#include "layer/derived-layer.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <map>
#include <memory>

#include "base/error.hpp"
#include "layer/expansion-limit.hpp"

namespace imaged {

namespace {

constexpr std::array<std::string_view, 3> deployed_directories{"usr", "etc", "var"};
const Path object_directory{"sysroot", "ostree", "repo", "objects"};
// Links whose targets are not known yet are kept in memory.
constexpr std::size_t max_pending_bytes = 16 * 1024 * 1024;
// The layer's commit tells of them, and has a limit itself.
constexpr std::size_t max_links_bytes = 2 * 1024 * 1024;
// Links that the merge has to look for are kept in the layer's commit.
constexpr std::size_t max_unresolved_bytes = 2 * 1024 * 1024;
// Top-level names of which nothing is kept; they are counted in the commits of the layer and of the image.
constexpr std::size_t max_filtered_names = 1000;

template <std::size_t size>
bool contains(const std::array<std::string_view, size>& names, std::string_view name) {
    return std::find(names.begin(), names.end(), name) != names.end();
}

class DerivedReader {
public:
    DerivedReader(TarReader& tar, ObjectSink& sink, const DerivedLayerRules& rules)
        : tar_(tar), sink_(sink), rules_(rules) {}

    DerivedLayer read() {
        while (auto entry = tar_.next()) {
            in_context("entry \"" + join_path(entry->path) + "\"", [&] { take(*entry); });
        }
        settle_pending();
        drop_broken_links();
        layer_.root = tree_.write(rules_.mapping, sink_);
        return std::move(layer_);
    }

private:
    struct Pending {
        Path path, target;
        bool filtered;
    };

    void take(TarEntry& entry) {
        if (!entry.utf8) {
            ++layer_.bad_names;
            return;
        }
        auto path = rules_.mapping.canonical(std::move(entry.path));
        if (path.empty()) {
            if (entry.type == EntryType::directory) tree_.put_directory({}, put_dirmeta(entry));
            return;
        }
        // aufs left such directories in old images; nothing inside one is part of the tree.
        const auto hidden = [](const std::string& name) { return name.starts_with(whiteout_prefix); };
        if (std::any_of(path.begin(), path.end() - 1, hidden)) return;
        path = tree_.resolve_parents(path, sink_);
        if (path.empty()) return;
        const bool filtered = is_filtered(path, entry);
        if (filtered) {
            ++layer_.filtered[top_of(path)];
            if (layer_.filtered.size() > max_filtered_names)
                throw Error(ErrorKind::unsupported_image, "more than the limit of " +
                                                              std::to_string(max_filtered_names) +
                                                              " top-level names that are not kept");
        }
        if (hidden(path.back())) {
            if (!filtered) put_whiteout(path, entry);
            return;
        }
        auto& tree = filtered ? limbo_tree_ : tree_;
        switch (entry.type) {
            case EntryType::directory:
                // A filtered directory leads to no file that a hard link could want.
                if (!filtered) tree.put_directory(path, put_dirmeta(entry));
                break;
            case EntryType::file:
                tree.put_file(path, put_content(tar_, entry, meta_of(entry, S_IFREG), filtered ? limbo() : sink_));
                break;
            case EntryType::symlink: {
                if (!entry.target_utf8) {
                    ++layer_.bad_names;
                    if (!filtered) hide(path);
                    break;
                }
                const FileMeta meta{entry.uid, entry.gid, S_IFLNK | 0777, xattrs_of(entry)};
                tree.put_file(path, (filtered ? limbo() : sink_).put_symlink(meta, entry.target));
                break;
            }
            case EntryType::hardlink: take_link(path, entry, filtered); break;
            case EntryType::special:
                ++layer_.special_files;
                if (!filtered) hide(path);
                break;
        }
    }

    std::string top_of(const Path& path) const {
        auto top = path.front();
        if (top.starts_with(whiteout_prefix)) top.erase(0, whiteout_prefix.size());
        return top;
    }

    bool is_filtered(const Path& path, const TarEntry& entry) const {
        const auto top = top_of(path);
        if (is_runtime_directory(top)) {
            // On a read-only root these are mount points and nothing else.
            return path.size() > 1 || (rules_.root == RootPolicy::usr_etc_var && entry.type != EntryType::directory);
        }
        return rules_.root == RootPolicy::usr_etc_var && !contains(deployed_directories, top);
    }

    void put_whiteout(const Path& path, const TarEntry& entry) {
        const std::string_view name = path.back();
        const auto hidden = name.substr(whiteout_prefix.size());
        if (name != opaque_whiteout && hidden.starts_with(whiteout_prefix)) return;  // aufs' own files
        if (hidden.empty() || hidden == "." || hidden == "..")
            throw Error(ErrorKind::corrupt_input, "a whiteout that names nothing");
        const FileMeta meta{entry.uid, entry.gid, S_IFREG | (entry.type == EntryType::file ? entry.mode : 0U), nullptr};
        tree_.put_whiteout(path, sink_.put_file(meta, {}));
        layer_.has_whiteouts = true;
    }

    // Nothing of this layer or of one below is at PATH any more.
    void hide(Path path) {
        tree_.remove(path);
        if (const auto link = pending_at_.find(path); link != pending_at_.end()) pending_[link->second].target.clear();
        tree_.need_parents(path);
        if (path.back().size() + whiteout_prefix.size() > max_name_bytes)
            return;  // too long for a whiteout, and for any file system's file below
        path.back().insert(0, whiteout_prefix);
        tree_.put_whiteout(path, sink_.put_file({0, 0, S_IFREG, nullptr}, {}));
        layer_.has_whiteouts = true;
    }

    // The object that PATH names in this layer, moved out of limbo if it was there.
    std::optional<Checksum> find_object(const Path& path) {
        if (const auto found = tree_.find(path)) {
            if (found->directory)
                throw Error(ErrorKind::corrupt_input, "hard link to the directory \"" + join_path(path) + "\"");
            return found->object;
        }
        if (const auto found = limbo_tree_.find(path); found && !found->directory) {
            sink_.adopt(found->object, limbo());
            return found->object;
        }
        return std::nullopt;
    }

    void take_link(const Path& path, const TarEntry& entry, bool filtered) {
        if (entry.link.empty()) throw Error(ErrorKind::corrupt_input, "hard link to the root");
        auto target = tree_.resolve_parents(rules_.mapping.canonical(entry.link), sink_);
        if (target == path) return;
        if (filtered) {
            // Kept apart like any filtered file: another link may want it.
            if (const auto found = tree_.find(target); found && !found->directory) {
                limbo_tree_.put_file(path, found->object);
            } else if (const auto limbo_found = limbo_tree_.find(target); limbo_found && !limbo_found->directory) {
                limbo_tree_.put_file(path, limbo_found->object);
            } else {
                defer(path, std::move(target), true);
            }
            return;
        }
        if (const auto object = find_object(target)) {
            tree_.put_file(path, *object);
            remember_link(path, target);
        } else {
            tree_.remove(path);
            // As if it were there: what comes later at a parent of it replaces it.
            tree_.need_parents(path);
            defer(path, std::move(target), false);
        }
    }

    // Links are told of as far as this goes; the tree is the same without.
    void remember_link(const Path& path, const Path& target) {
        UnresolvedLink link{join_path(path), join_path(target)};
        links_bytes_ += link.path.size() + link.target.size() + sizeof link;
        if (links_bytes_ <= max_links_bytes) layer_.hard_links.push_back(std::move(link));
    }

    // Later entries may have replaced either end.
    void drop_broken_links() {
        std::erase_if(layer_.hard_links, [&](const auto& link) {
            const auto path = tree_.find(split_path(link.path)), target = tree_.find(split_path(link.target));
            return !path || !target || path->directory || target->directory || path->object != target->object;
        });
    }

    void defer(const Path& path, Path target, bool filtered) {
        pending_bytes_ += 2 * join_path(path).size() + join_path(target).size() + sizeof(Pending);
        if (pending_bytes_ > max_pending_bytes)
            throw Error(ErrorKind::unsupported_image, "too many hard links to files that are not in the layer");
        if (const auto [place, is_new] = pending_at_.emplace(path, pending_.size()); !is_new) {
            pending_[place->second] = {path, std::move(target), filtered};
        } else {
            pending_.push_back({path, std::move(target), filtered});
        }
    }

    // A later entry took the place of LINK, or of one of its parents.
    bool is_replaced(const Pending& link) const {
        if (link.target.empty()) return true;
        const auto& tree = link.filtered ? limbo_tree_ : tree_;
        if (tree.find(link.path)) return true;
        if (link.filtered) return false;
        const auto parent = tree.find(Path(link.path.begin(), link.path.end() - 1));
        return !parent || !parent->directory;
    }

    // Links whose target came later, links through other such links, links to objects of the repository; what is left
    // is for the merge.
    void settle_pending() {
        // By their targets: a link that is settled settles those that lead to it, however long the chain.
        std::multimap<Path, std::size_t> waiting;
        std::vector<std::size_t> ready;
        for (std::size_t i = pending_.size(); i-- > 0;) {
            waiting.emplace(pending_[i].target, i);
            ready.push_back(i);
        }
        std::vector<bool> settled(pending_.size());
        while (!ready.empty()) {
            const auto index = ready.back();
            ready.pop_back();
            const auto& link = pending_[index];
            auto& tree = link.filtered ? limbo_tree_ : tree_;
            if (settled[index]) continue;
            if (is_replaced(link)) {
                settled[index] = true;
                continue;
            }
            const auto object =
                in_context("hard link \"" + join_path(link.path) + "\"", [&] { return find_object(link.target); });
            if (!object) continue;
            tree.put_file(link.path, *object);
            if (!link.filtered) remember_link(link.path, link.target);
            settled[index] = true;
            const auto [first, last] = waiting.equal_range(link.path);
            for (auto next = first; next != last; ++next) ready.push_back(next->second);
        }
        std::vector<Pending> left;
        for (std::size_t i = 0; i < pending_.size(); ++i) {
            if (!settled[i]) left.push_back(std::move(pending_[i]));
        }
        pending_ = std::move(left);
        // What a pair of texts takes in a GVariant beside them.
        constexpr std::size_t framing_bytes = 16;
        std::size_t unresolved_bytes = 0;
        for (const auto& link : pending_) {
            if (link.filtered) continue;
            if (const auto object = repository_object(link.target)) {
                tree_.put_file(link.path, *object);
            } else {
                layer_.unresolved.push_back({join_path(link.path), join_path(link.target)});
                const auto& [path, target] = layer_.unresolved.back();
                unresolved_bytes += path.size() + target.size() + framing_bytes;
                if (unresolved_bytes > max_unresolved_bytes)
                    throw Error(ErrorKind::unsupported_image, "too many hard links to files that are not in the layer");
            }
        }
    }

    // sysroot/ostree/repo/objects/XX/REST.file names an object that the base may have brought.
    std::optional<Checksum> repository_object(const Path& target) {
        if (target.size() != object_directory.size() + 2 ||
            !std::equal(object_directory.begin(), object_directory.end(), target.begin()))
            return std::nullopt;
        const auto& file = target.back();
        const auto dot = file.find('.');
        if (dot == std::string::npos || file.substr(dot) != ".file") return std::nullopt;
        const auto checksum = Checksum::from_hex(target[target.size() - 2] + file.substr(0, dot));
        if (!checksum || !sink_.has_file(*checksum)) return std::nullopt;
        return checksum;
    }

    Xattrs xattrs_of(TarEntry& entry) {
        std::erase_if(entry.xattrs, [&](const auto& xattr) {
            const auto& name = xattr.first;
            // The label belongs to the policy of the machine that deploys, and is set from it.
            if (name == "security.selinux") return true;
            // ACLs would change with the mode; user attributes exist on files and directories only.
            const bool impossible =
                name.starts_with("system.") || (entry.type == EntryType::symlink && name.starts_with("user."));
            if (impossible) ++layer_.dropped_xattrs;
            return impossible;
        });
        return make_xattrs(entry.xattrs);
    }

    FileMeta meta_of(TarEntry& entry, std::uint32_t type) {
        return {entry.uid, entry.gid, type | entry.mode, xattrs_of(entry)};
    }
    Checksum put_dirmeta(TarEntry& entry) {
        return sink_.put_metadata(ObjectType::dirmeta, serialise_dirmeta(meta_of(entry, S_IFDIR)));
    }

    ObjectSink& limbo() {
        if (!limbo_) limbo_ = sink_.limbo();
        return *limbo_;
    }

    TarReader& tar_;
    ObjectSink& sink_;
    const DerivedLayerRules& rules_;
    DerivedLayer layer_;
    LayerTree tree_;
    // Entries that the rules drop, kept until the end because a hard link outside may be all that is left of one.
    LayerTree limbo_tree_;
    std::unique_ptr<ObjectSink> limbo_;
    std::vector<Pending> pending_;
    std::map<Path, std::size_t> pending_at_;  // while entries come
    std::size_t pending_bytes_ = 0, links_bytes_ = 0;
};

}  // namespace

bool is_runtime_directory(std::string_view name) {
    return contains(runtime_directories, name);
}

DerivedLayer read_derived_layer(TarReader& tar, ObjectSink& sink, const DerivedLayerRules& rules) {
    return DerivedReader(tar, sink, rules).read();
}

Checksum put_content(TarReader& tar, const TarEntry& entry, const FileMeta& meta, ObjectSink& sink) {
    if (entry.size > max_layer_bytes)
        throw Error(ErrorKind::unsupported_image,
                    "a file of more than the limit of " + std::to_string(max_layer_bytes >> 30) + " GiB");
    if (entry.size > ObjectSink::max_small_bytes) {
        const auto file = sink.begin_large(meta, entry.size);
        for (auto piece = tar.content(); !piece.empty(); piece = tar.content()) file->append(piece);
        return file->finish();
    }
    std::vector<std::byte> content;
    content.reserve(entry.size);
    for (auto piece = tar.content(); !piece.empty(); piece = tar.content()) {
        if (content.size() + piece.size() > entry.size)
            throw Error(ErrorKind::corrupt_input, "a file has more bytes than its header says");
        content.insert(content.end(), piece.begin(), piece.end());
    }
    if (content.size() != entry.size)
        throw Error(ErrorKind::corrupt_input, "a file has fewer bytes than its header says");
    return sink.put_file(meta, std::move(content));
}

}  // namespace imaged
