// SPDX-License-Identifier: Apache-2.0
#include "layer/derived-layer.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <deque>
#include <memory>

#include "base/error.hpp"
#include "layer/expansion-limit.hpp"
#include "layer/storable-xattrs.hpp"

namespace imaged {

namespace {

const Path object_directory{"sysroot", "ostree", "repo", "objects"};
// Of what aufs kept for itself beside its whiteouts.
constexpr std::string_view aufs_prefix = ".wh..wh.";
// Links whose targets are not known yet are kept in memory.
constexpr std::size_t max_pending_bytes = 24 * 1024 * 1024;
// What one takes beside its texts, its place in the tables included.
constexpr std::size_t pending_link_bytes = 200;
// They are listed in the layer's commit, whose size is limited too.
constexpr std::size_t max_links_bytes = 2 * 1024 * 1024;
// Links that the merge has to look for are kept in the layer's commit.
constexpr std::size_t max_unresolved_bytes = 2 * 1024 * 1024;
// Likewise for what has no file.
constexpr std::size_t max_lost_bytes = 1024 * 1024;
// Entries of dropped_tree_ for files that cannot be stored, so that hard links to them are known.
const Checksum special_file{};
const Checksum nameless_file = [] {
    Checksum checksum;
    checksum.bytes.fill(0xff);
    return checksum;
}();

bool is_utf8(const Path& path) {
    return std::all_of(path.begin(), path.end(), [](const std::string& name) {
        return g_utf8_validate(name.data(), static_cast<gssize>(name.size()), nullptr) != FALSE;
    });
}

bool is_hidden(std::string_view name) {
    return name.starts_with(whiteout_prefix);
}

template <std::size_t size>
bool contains(const std::array<std::string_view, size>& names, std::string_view name) {
    return std::find(names.begin(), names.end(), name) != names.end();
}

class DerivedReader {
public:
    DerivedReader(TarReader& tar, ObjectSink& sink, const DerivedLayerRules& rules, const SinkOfFile& sink_of_file)
        : tar_(tar), sink_(sink), rules_(rules), sink_of_file_(sink_of_file) {}

    DerivedLayer read() {
        while (auto entry = tar_.next()) {
            in_context("entry \"" + join_path(entry->path) + "\"", [&] { take(*entry); });
        }
        settle_pending();
        drop_broken_links();
        note_rivals();
        layer_.root = tree_.write(rules_.mapping, sink_);
        return std::move(layer_);
    }

private:
    struct Pending {
        std::string path, target;
        bool dropped;
        std::uint32_t moment;
        std::string via;  // the pending link that is its real target; empty if there is none
    };

    void take(TarEntry& entry) {
        if (!entry.utf8) ++layer_.bad_names;
        auto path = std::move(entry.path);
        if (path.empty()) {
            if (entry.type == EntryType::directory) tree_.put_directory({}, put_dirmeta(entry));
            return;
        }
        if (is_hidden(path.back())) {
            if (entry.utf8 && !is_below_whiteout(path) && !is_filtered(path)) put_whiteout(path, entry);
            return;
        }
        path = tree_.resolve_parents(path, read_link_);
        if (path.empty()) return;
        const bool outside = is_filtered(path) || is_below_whiteout(path);
        if (entry.utf8 && is_below_whiteout(path) && !is_aufs_own(path)) ++layer_.bad_names;
        const bool dropped = outside || !entry.utf8;
        if (!outside && !entry.utf8) need_named_parents(path);
        switch (entry.type) {
            case EntryType::directory:
                // One that is dropped leads to no file that a hard link could want.
                if (!dropped) put_directory(path, entry);
                break;
            case EntryType::file: put_file(path, put_regular(entry, dropped), dropped); break;
            case EntryType::symlink: {
                if (!entry.target_utf8) {
                    ++layer_.bad_names;
                    put_lost(path, nameless_file, dropped);
                    break;
                }
                const FileMeta meta{entry.uid, entry.gid, S_IFLNK | 0777, xattrs_of(entry)};
                put_file(path, (dropped ? side_sink() : sink_).put_symlink(meta, entry.target), dropped);
                break;
            }
            case EntryType::hardlink: take_link(path, entry, dropped); break;
            case EntryType::special:
                ++layer_.special_files;
                put_lost(path, special_file, dropped);
                break;
        }
    }

    // No commit of a layer has a directory that is called as whiteouts are.
    static bool is_below_whiteout(const Path& path) { return std::any_of(path.begin(), path.end() - 1, is_hidden); }
    // aufs left such directories in old images; nothing inside one is part of the tree.
    static bool is_aufs_own(const Path& path) {
        return std::any_of(path.begin(), path.end() - 1,
                           [](const std::string& name) { return name.starts_with(aufs_prefix); });
    }

    // On a read-only root these are mount points and nothing else. Counts what it is asked for.
    bool is_filtered(const Path& path) {
        if (path.size() == 1 || !is_runtime_directory(path.front())) return false;
        ++layer_.filtered[path.front()];
        return true;
    }

    // Those of an entry that is dropped for a name.
    void need_named_parents(const Path& path) {
        const auto nameless =
            std::find_if_not(path.begin(), path.end(), [](const auto& name) { return is_utf8({name}); });
        tree_.need_parents(Path(path.begin(), std::min(nameless + 1, path.end())));
    }

    Checksum put_regular(TarEntry& entry, bool dropped) {
        const auto meta = meta_of(entry, S_IFREG);
        if (dropped) return put_content(tar_, entry, meta, side_sink());
        if (!sink_of_file_ || gives_rights(meta)) return put_content(tar_, entry, meta, sink_);
        auto& sink = sink_of_file_(entry.size);
        const auto object = put_content(tar_, entry, meta, sink);
        if (&sink != &sink_) sink_.expect_file(object);
        return object;
    }

    void put_file(const Path& path, const Checksum& object, bool dropped) {
        (dropped ? dropped_tree_ : tree_).put_file(path, object);
    }

    // Nothing can be stored for the entry; links to it go the same way.
    void put_lost(const Path& path, const Checksum& what, bool dropped) {
        if (!dropped) {
            tree_.put_lost(path, nothing_below());
            remember_lost(path);
        }
        dropped_tree_.put_file(path, what);
    }

    void put_directory(const Path& path, TarEntry& entry) {
        const auto before = tree_.find(path);
        const bool replaces = tree_.has_placeholder(path) || (before && !before->directory);
        tree_.put_directory(path, put_dirmeta(entry));
        if (!replaces) return;
        // What took the place of everything below is gone again, and everything below with it.
        tree_.put_opaque(path, nothing_below());
        remember_lost(path);
    }

    void put_whiteout(const Path& path, const TarEntry& entry) {
        const std::string_view name = path.back();
        const auto hidden = name.substr(whiteout_prefix.size());
        if (name != opaque_whiteout && is_hidden(hidden)) return;  // aufs' own files
        if (hidden.empty() || hidden == "." || hidden == "..")
            throw Error(ErrorKind::corrupt_input, "a whiteout that names nothing");
        const FileMeta meta{entry.uid, entry.gid, S_IFREG | (entry.type == EntryType::file ? entry.mode : 0U), nullptr};
        tree_.put_whiteout(path, sink_.put_file(meta, {}));
        layer_.has_whiteouts = true;
    }

    // The file of whiteouts that the layer does not have itself.
    Checksum nothing_below() {
        layer_.has_whiteouts = true;
        return sink_.put_file({0, 0, S_IFREG, nullptr}, {});
    }

    // The object that PATH names in this layer, or one of the two that stand for nothing. If it was dropped and is to
    // be KEPT, moves it from the side sink.
    std::optional<Checksum> find_object(const Path& path, bool kept) {
        if (const auto found = tree_.find(path)) return found->directory ? std::nullopt : std::optional(found->object);
        // What stood there before the link that waits is no longer meant.
        if (tree_.has_placeholder(path)) return std::nullopt;
        const auto found = dropped_tree_.find(path);
        if (!found || found->directory) return std::nullopt;
        if (kept && !is_lost(found->object)) sink_.adopt(found->object, side_sink());
        return found->object;
    }

    static bool is_lost(const Checksum& object) { return object == special_file || object == nameless_file; }

    void put_link(const Path& path, const Path& target, const Checksum& object, bool dropped) {
        if (is_lost(object)) {
            ++(object == special_file ? layer_.special_files : layer_.bad_names);
            put_lost(path, object, dropped);
            return;
        }
        // One that is dropped is kept apart like any such file: another link may want it.
        put_file(path, object, dropped);
        if (!dropped) remember_link(path, join_path(target));
    }

    // Of a link that waited.
    void settle(const Pending& link, const Path& place, const Checksum& object) {
        if (is_lost(object)) {
            settle_lost(place, object, link.dropped);
            return;
        }
        (link.dropped ? dropped_tree_ : tree_).fill(place, object);
        if (!link.dropped) remember_link(place, link.via.empty() ? link.target : link.via);
    }

    void settle_lost(const Path& place, const Checksum& what, bool dropped) {
        ++(what == special_file ? layer_.special_files : layer_.bad_names);
        if (!dropped) {
            tree_.fill_lost(place, nothing_below());
            remember_lost(place);
        }
        dropped_tree_.put_file(place, what);
    }

    void take_link(const Path& path, const TarEntry& entry, bool dropped) {
        if (entry.link.empty()) throw Error(ErrorKind::corrupt_input, "hard link to the root");
        auto target = tree_.resolve_parents(entry.link, read_link_);
        if (target == path) return;
        if (const auto object = find_object(target, !dropped)) {
            put_link(path, target, *object, dropped);
            return;
        }
        // One that is not listed may be a link below, and one that is listed later may take the place of a file below.
        if (const auto found = tree_.find(target); !dropped && found && found->directory && found->listed)
            throw Error(ErrorKind::corrupt_input, "hard link to the directory \"" + join_path(target) + "\"");
        // A link to a link that waits itself is one to the same file, whatever becomes of that link.
        auto moment = tree_.now();
        auto file = join_path(target), via = std::string();
        if (const auto other = pending_at_.find(file); other != pending_at_.end()) {
            const auto& waiting = pending_[other->second];
            if (place_of(waiting)) {
                via = std::exchange(file, waiting.target);
                moment = waiting.moment;
            }
        }
        (dropped ? dropped_tree_ : tree_).put_placeholder(path);
        defer({join_path(path), std::move(file), dropped, moment, std::move(via)});
    }

    // Hard links are recorded up to this limit; the tree is the same without the record.
    void remember_link(const Path& path, const std::string& target) {
        UnresolvedLink link{join_path(path), target};
        links_bytes_ += link.path.size() + link.target.size() + sizeof link;
        if (links_bytes_ <= max_links_bytes) layer_.hard_links.push_back(std::move(link));
    }

    void remember_lost(const Path& path) {
        auto text = join_path(path);
        lost_bytes_ += text.size() + 1 + sizeof(std::uint32_t);  // with its place in a GVariant
        if (lost_bytes_ <= max_lost_bytes) layer_.lost.push_back(std::move(text));
    }

    // Likewise.
    void remember_first(UnresolvedLink link) {
        first_bytes_ += link.path.size() + link.target.size() + sizeof link;
        if (first_bytes_ <= max_links_bytes) layer_.links_first.push_back(std::move(link));
    }

    // Later entries may have replaced either end.
    void drop_broken_links() {
        std::erase_if(layer_.hard_links, [&](const auto& link) {
            const auto path = tree_.find(split_path(link.path)), target = tree_.find(split_path(link.target));
            return !path || !target || path->directory || target->directory || path->object != target->object;
        });
    }

    // What lower links may lead to the place of a hard link's file, and came between the two.
    void note_rivals() {
        if (!tree_.has_implicit()) return;
        std::size_t bytes = 0;
        for (const auto& [path, target] : layer_.hard_links) {
            for (auto& other : tree_.files_between(split_path(target), split_path(path))) {
                bytes += path.size() + other.size() + sizeof(UnresolvedLink);
                if (bytes > max_links_bytes) return;
                layer_.link_rivals.push_back({path, std::move(other)});
            }
        }
    }

    void defer(Pending link) {
        pending_bytes_ += link.path.size() + link.target.size() + link.via.size() + pending_link_bytes;
        if (pending_bytes_ > max_pending_bytes)
            throw Error(ErrorKind::unsupported_image, "too many hard links to files that are not in the layer");
        if (const auto place = pending_at_.find(link.path); place != pending_at_.end()) {
            auto& earlier = pending_[place->second];
            earlier.target = std::move(link.target);
            earlier.dropped = link.dropped;
            earlier.moment = link.moment;
            earlier.via = std::move(link.via);
        } else {
            pending_.push_back(std::move(link));
            pending_at_.emplace(pending_.back().path, pending_.size() - 1);
        }
    }

    // Where LINK stands, unless a later entry took its place: what took that of one of its parents may have displaced
    // it.
    std::optional<Path> place_of(const Pending& link) const {
        const auto& tree = link.dropped ? dropped_tree_ : tree_;
        auto path = split_path(link.path);
        if (tree.has_placeholder(path)) return path;
        path.emplace(path.begin(), displaced_directory);
        if (tree.has_placeholder(path)) return path;
        return std::nullopt;
    }

    // Links whose target came later, links through other such links.
    void settle_pending() {
        // By their targets: a link that is settled settles those that lead to it, however long the chain.
        std::vector<std::uint32_t> waiting, ready;
        for (auto i = static_cast<std::uint32_t>(pending_.size()); i-- > 0;) ready.push_back(i);
        waiting.assign(ready.rbegin(), ready.rend());
        const auto target_of = [&](std::uint32_t index) -> const std::string& { return pending_[index].target; };
        std::stable_sort(waiting.begin(), waiting.end(), [&](auto a, auto b) { return target_of(a) < target_of(b); });
        std::vector<bool> settled(pending_.size());
        while (!ready.empty()) {
            const auto index = ready.back();
            ready.pop_back();
            const auto& link = pending_[index];
            if (settled[index]) continue;
            const auto place = place_of(link);
            if (!place) {
                settled[index] = true;
                continue;
            }
            const auto target = split_path(link.target);
            const auto object = find_object(target, !link.dropped);
            if (!object) continue;
            // What a lower layer has there comes before what came after the link.
            if (!link.dropped && tree_.find(target)) remember_first({join_path(*place), link.target});
            settle(link, *place, *object);
            settled[index] = true;
            auto next = std::lower_bound(waiting.begin(), waiting.end(), link.path,
                                         [&](auto other, const auto& path) { return target_of(other) < path; });
            for (; next != waiting.end() && target_of(*next) == link.path; ++next) ready.push_back(*next);
        }
        note_unresolved(settled);
    }

    // Whether links of lower layers may lead another entry to the place of the link that LINK goes through, which came
    // between the two.
    bool is_contested(const Pending& link, const Path& place) {
        if (link.via.empty()) return false;
        const auto via = split_path(link.via);
        return tree_.has_placeholder(via) && !tree_.files_between(via, place).empty();
    }

    // What is left is for the merge.
    void note_unresolved(const std::vector<bool>& settled) {
        // What a pair of texts takes in a GVariant beside them.
        constexpr std::size_t framing_bytes = 16;
        std::size_t unresolved_bytes = 0;
        std::vector<std::pair<Path, Checksum>> of_repository;
        std::map<std::string, std::optional<std::uint32_t>> first_moments;
        for (std::size_t index = 0; index < pending_.size(); ++index) {
            const auto& link = pending_[index];
            const auto found = link.dropped || settled[index] ? std::nullopt : place_of(link);
            if (!found) continue;
            const auto& place = *found;
            const auto file = split_path(link.target);
            if (!is_utf8(file)) {  // what a lower layer has there is not stored
                settle_lost(place, nameless_file, false);
            } else if (const auto object = repository_object(file)) {
                of_repository.emplace_back(place, *object);
            } else {
                const bool through = is_contested(link, place);
                layer_.unresolved.push_back({join_path(place), through ? link.via : link.target});
                const auto& [path, target] = layer_.unresolved.back();
                const auto [first, is_new] = first_moments.emplace(file.back(), std::nullopt);
                if (is_new) first->second = tree_.first_moment(file.back());
                // Another link that waits may have taken the place of the file since.
                const auto since = std::max(first->second, tree_.placeholder_moment(file));
                if (!through && since > link.moment && first->second.value_or(*since) > link.moment)
                    remember_first({path, target});
                unresolved_bytes += path.size() + target.size() + framing_bytes;
                if (unresolved_bytes > max_unresolved_bytes)
                    throw Error(ErrorKind::unsupported_image, "too many hard links to files that are not in the layer");
            }
        }
        for (const auto& [path, object] : of_repository) tree_.fill(path, object);
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
        layer_.dropped_xattrs += entry.acls + drop_unstorable(entry.xattrs, entry.type == EntryType::symlink);
        return make_xattrs(entry.xattrs);
    }

    FileMeta meta_of(TarEntry& entry, std::uint32_t type) {
        return {entry.uid, entry.gid, type | entry.mode, xattrs_of(entry)};
    }
    Checksum put_dirmeta(TarEntry& entry) {
        return sink_.put_metadata(ObjectType::dirmeta, serialise_dirmeta(meta_of(entry, S_IFDIR)));
    }

    ObjectSink& side_sink() {
        if (!side_sink_) side_sink_ = sink_.side_sink();
        return *side_sink_;
    }

    TarReader& tar_;
    ObjectSink& sink_;
    const DerivedLayerRules& rules_;
    const SinkOfFile& sink_of_file_;
    // Other sinks have regular files only.
    const LayerTree::ReadLink read_link_ = [this](const Checksum& object) {
        return sink_of_file_ && !sink_.has_file(object) ? std::nullopt : sink_.read_symlink(object);
    };
    DerivedLayer layer_;
    LayerTree tree_;
    // Entries that the rules drop, kept until the end because a hard link outside may be all that is left of one.
    LayerTree dropped_tree_;
    std::unique_ptr<ObjectSink> side_sink_;
    std::deque<Pending> pending_;
    std::map<std::string_view, std::uint32_t> pending_at_;  // by their paths
    std::size_t pending_bytes_ = 0, links_bytes_ = 0, first_bytes_ = 0, lost_bytes_ = 0;
};

}  // namespace

bool is_runtime_directory(std::string_view name) {
    return contains(runtime_directories, name);
}

DerivedLayer read_derived_layer(TarReader& tar, ObjectSink& sink, const DerivedLayerRules& rules,
                                const SinkOfFile& sink_of_file) {
    return DerivedReader(tar, sink, rules, sink_of_file).read();
}

Checksum put_content(TarReader& tar, const TarEntry& entry, const FileMeta& meta, ObjectSink& sink) {
    if (entry.size > max_layer_bytes)
        throw Error(ErrorKind::unsupported_image,
                    "a file of more than the limit of " + std::to_string(max_layer_bytes >> 30) + " GiB");
    if (entry.size > ObjectSink::max_small_bytes) {
        const auto file = sink.begin_large(meta, entry.size);
        const auto same = tar.content_file();
        if (same) file->try_to_share(same.get());
        for (auto piece = tar.content(); !piece.empty(); piece = tar.content()) tar.leave_out(file->append(piece));
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
