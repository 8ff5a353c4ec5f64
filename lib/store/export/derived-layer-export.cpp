// SPDX-License-Identifier: Apache-2.0
#include "store/export/derived-layer-export.hpp"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "base/error.hpp"
#include "base/tree-path.hpp"
#include "layer/path-mapping.hpp"
#include "store/export/object-tar.hpp"
#include "store/records/layer-record.hpp"
#include "store/tree/layer-overlay.hpp"
#include "store/tree/tree-store.hpp"

namespace imaged {

namespace {

// Links of links; longer chains only become more than one group.
constexpr unsigned max_link_chain = 64;

// Whiteouts first: some tools apply them to what came before them in the same layer.
struct WhiteoutsFirst {
    bool operator()(const std::string& a, const std::string& b) const {
        const bool first = a.starts_with(whiteout_prefix), second = b.starts_with(whiteout_prefix);
        return first != second ? first : a < b;
    }
};
using Children = std::map<std::string, TreeEntry, WhiteoutsFirst>;

class DerivedExport {
public:
    DerivedExport(const Repository& repository, const Cancellation& cancellation, const LayerInImage& layer,
                  ByteSink& sink, const TarEntryHook& entry)
        : repository_(repository),
          cancellation_(cancellation),
          commit_(repository.load_commit(layer.commit)),
          record_(LayerRecord::read(commit_)),
          merged_(layer.image_tree),
          default_meta_(sha256(serialise_dirmeta({0, 0, implicit_directory_mode, nullptr}))),
          tar_(sink, TarStyle::pax, entry) {
        for (const auto& link : record_.hard_links) link_targets_[link.path] = link.target;
        for (const auto& link : record_.links_first) links_first_.insert(link.path);
        for (const auto& link : record_.unresolved) unresolved_.insert(link.path);
        lost_.insert(record_.lost.begin(), record_.lost.end());
    }

    void run() {
        auto root = load(commit_.tree);
        if (is_listed("", commit_.meta, root.empty())) directory("./", commit_.meta);
        // Without a record nobody knows of /var; a layer has no other reason to have that directory.
        const PathMapping mapping{record_.moved_var || !record_.has_implicit};
        for (const auto& move : mapping.moves()) move_up(root, move);
        for (const auto& path : record_.order) last_.emplace(path, std::nullopt);
        write_early(root);
        const auto is_displaced = [](const std::string& path) { return path.starts_with(displaced_directory); };
        if (is_order_whole(root)) {
            write_in_order(root);
            return tar_.finish();
        }
        links([&](const auto& link) { return links_first_.contains(link.path); });
        write_before_displaced(root);
        for (const auto& whiteout : record_.whiteouts_behind) tar_.add({TarItem::Type::file, whiteout});
        if (const auto displaced = root.find(std::string(displaced_directory)); displaced != root.end()) {
            const auto inside = load(displaced->second.object);
            root.erase(displaced);
            children(inside, std::string(displaced_directory), 0);
        }
        links([&](const auto& link) { return is_displaced(link.path) && !links_first_.contains(link.path); });
        children(root, "", 0);
        // Again, in the order that counts if links of lower layers lead several to one place: the last of one name
        // stays.
        for (const auto& path : record_.order) {
            const auto& child = last_[path];
            if (child && !is_displaced(path)) entry(path, *child);
        }
        // Links to what is there only now.
        std::set<std::string> late;
        for (const auto& rival : record_.link_rivals) late.insert(rival.path);
        for (const auto& link : record_.hard_links) {
            if (late.contains(link.path)) hard_link(link.path, link.target, last_[link.path]);
        }
        links([&](const auto& link) { return !is_displaced(link.path) && !links_first_.contains(link.path); });
        tar_.finish();
    }

private:
    // Those to what the layer does not have itself.
    template <typename Wanted>
    void links(Wanted&& wanted) {
        for (const auto& link : record_.unresolved) {
            if (!written_.contains(link.path) && wanted(link))
                hard_link(own_path(link.path), file_of(link.path, link.target), std::nullopt);
        }
    }

    // What the link PATH to TARGET is a link of: if another link of this layer takes TARGET, the first link to what was
    // there before.
    std::string file_of(const std::string& path, const std::string& target) {
        if (!links_first_.contains(path) || !unresolved_.contains(target)) return target;
        const auto [earlier, is_new] = first_to_.emplace(target, path);
        return is_new ? target : own_path(earlier->second);
    }

    // Links to files of lower layers whose place something of this layer takes: they come before that.
    void write_early(const Children& root) {
        for (const auto& [path, target] : record_.links_first) {
            const auto own = entry_of(root, path);
            if (!own || own->directory || !link_targets_.contains(path)) continue;
            // It has what this layer brings later, unless a lower one had something there.
            if (const auto merged = merged_file(path); merged && merged->object == own->object) continue;
            link_targets_.erase(path);
            early_link(root, path, target);
        }
        if (record_.unresolved.empty()) return;
        whiteouts_.insert(record_.whiteouts_behind.begin(), record_.whiteouts_behind.end());
        pass_ = Pass::collect;
        children(root, "", 0);
        pass_ = Pass::write;
        for (const auto& [path, target] : record_.unresolved) {
            if (!path.starts_with(displaced_directory) && is_hidden(root, target)) early_link(root, path, target);
        }
    }

    void early_link(const Children& root, const std::string& path, const std::string& target) {
        for (auto slash = path.find('/'); slash != path.npos; slash = path.find('/', slash + 1)) {
            const auto parent = path.substr(0, slash);
            const auto listed = entry_of(root, parent);
            if (!listed || !listed->directory || !is_listed(parent, listed->meta, false)) continue;
            entry(parent, *listed);
            written_.insert(parent);
        }
        hard_link(own_path(path), target, std::nullopt);
        written_.insert(path);
    }

    // What this layer has at PATH.
    std::optional<TreeEntry> entry_of(const Children& root, const std::string& path) const {
        return find(root, split_path(path));
    }

    std::optional<TreeEntry> find(Children directory, const Path& names) const {
        for (std::size_t i = 0; i < names.size(); ++i) {
            const auto found = directory.find(names[i]);
            if (found == directory.end()) return std::nullopt;
            if (i + 1 == names.size()) return found->second;
            if (!found->second.directory) return std::nullopt;
            directory = load(found->second.object);
        }
        return std::nullopt;
    }

    // Whether this layer removes the lower layers' TARGET, or puts something else in the place of a directory above it.
    bool is_hidden(const Children& root, const std::string& target) const {
        if (whiteouts_.contains(std::string(opaque_whiteout))) return true;
        for (auto slash = target.find('/');; slash = target.find('/', slash + 1)) {
            const auto path = target.substr(0, slash);
            const auto name = path.rfind('/') == path.npos ? 0 : path.rfind('/') + 1;
            if (whiteouts_.contains(path.substr(0, name) + std::string(whiteout_prefix) + path.substr(name)))
                return true;
            if (slash == target.npos) return false;
            if (whiteouts_.contains(path + "/" + std::string(opaque_whiteout))) return true;
            const auto above = entry_of(root, path);
            if (above && !above->directory) return true;
        }
    }

    // Whether the record has each entry of the layer in its order.
    bool is_order_whole(const Children& root) {
        if (record_.order.empty()) return false;
        pass_ = Pass::collect;
        children(root, "", 0);
        pass_ = Pass::write;
        return !has_unordered_;
    }

    // As the layer had them, whiteouts first.
    void write_in_order(const Children& root) {
        pass_ = Pass::write_whiteouts;
        children(root, "", 0);
        pass_ = Pass::write;
        for (const auto& whiteout : record_.whiteouts_behind) tar_.add({TarItem::Type::file, whiteout});
        std::map<std::string, std::string> links;
        for (const auto& link : record_.hard_links) links[link.path] = link.target;
        std::set<std::string> late;
        for (const auto& rival : record_.link_rivals) late.insert(rival.path);
        std::erase_if(links, [&](const auto& link) { return !late.contains(link.first); });
        for (const auto& link : record_.unresolved) links[link.path] = link.target;
        for (const auto& path : record_.order) {
            if (written_.contains(path)) continue;
            const auto& child = last_[path];
            if (const auto link = links.find(path); link != links.end()) {
                hard_link(own_path(path), file_of(path, link->second), child);
            } else if (child) {
                entry(path, *child);
            }
        }
    }

    // What came before an entry that a later one displaced, and may have gone to the same place, must not come after.
    void write_before_displaced(const Children& root) {
        const auto last = std::find_if(record_.order.rbegin(), record_.order.rend(),
                                       [](const auto& path) { return path.starts_with(displaced_directory); });
        if (last == record_.order.rend()) return;
        pass_ = Pass::collect;
        children(root, "", 0);
        pass_ = Pass::write;
        for (auto path = record_.order.begin(); path != last.base(); ++path) {
            auto& child = last_[*path];
            if (!child || path->starts_with(displaced_directory)) continue;
            entry(*path, *child);
            written_.insert(*path);
        }
    }

    void entry(const std::string& stored, const TreeEntry& child) {
        const bool whiteout =
            !child.directory && std::string_view(stored).substr(stored.rfind('/') + 1).starts_with(whiteout_prefix);
        if (pass_ == Pass::collect && whiteout) whiteouts_.insert(stored);
        if (pass_ == Pass::collect && !whiteout && !last_.contains(stored)) has_unordered_ = true;
        if (pass_ == Pass::collect || (pass_ == Pass::write_whiteouts && !whiteout) || written_.contains(stored))
            return;
        const auto path = own_path(stored);
        if (child.directory) {
            // Once: what is in it already would be replaced too.
            if (lost_.erase(stored) > 0) tar_.add({TarItem::Type::file, path});
            directory(path + "/", child.meta);
        } else {
            file(path, child.object);
        }
    }

    Children load(const Checksum& tree) const {
        const auto directory = parse_directory(repository_.require_metadata(ObjectType::dirtree, tree));
        return {directory.begin(), directory.end()};
    }

    // Brings what moved to the root, as the merge does, and gives what the image itself has there its name.
    void move_up(Children& root, const MovedDirectory& move) {
        const auto parent = join_path(move.parent);
        auto directory = root;
        for (const auto& name : move.parent) {
            const auto found = directory.find(name);
            if (found == directory.end() || !found->second.directory) return;
            directory = load(found->second.object);
        }
        for (const auto& prefix : {std::string(), std::string(whiteout_prefix)}) {
            own_names_[join_path(parent, prefix + move.aside)] = prefix + move.name;
            const auto found = directory.find(prefix + move.name);
            if (found == directory.end() || root.contains(prefix + move.name)) continue;
            // See CommitLayout.
            if (!prefix.empty() && !record_.has_implicit) continue;
            moved_.insert(join_path(parent, prefix + move.name));
            root.emplace(prefix + move.name, found->second);
        }
    }

    void children(const Children& found, const std::string& path, std::size_t depth) {
        if (depth > max_path_depth)
            throw Error(ErrorKind::unsupported_image,
                        "a tree that is deeper than " + std::to_string(max_path_depth) + " levels");
        for (const auto& [name, child] : found) {
            cancellation_.check();
            auto own = join_path(path, name);
            if (moved_.contains(own)) continue;  // it is at the root
            if (const auto aside = own_names_.find(own); aside != own_names_.end())
                own = join_path(path, aside->second);
            if (const auto last = last_.find(own); last != last_.end()) last->second = child;
            if (!child.directory) {
                entry(own, child);
                continue;
            }
            const auto inside = load(child.object);
            if (is_listed(own, child.meta, inside.empty())) entry(own, child);
            children(inside, own, depth + 1);
        }
    }

    // A directory that nobody described is made anew by who unpacks; an empty one only if it is listed.
    bool is_listed(const std::string& path, const Checksum& meta, bool empty) const {
        const bool is_default = meta == default_meta_;
        return record_.has_implicit ? !record_.is_implicit(path, is_default) : empty || !is_default;
    }

    void directory(const std::string& path, const Checksum& checksum) {
        const auto meta = parse_dirmeta(repository_.require_metadata(ObjectType::dirmeta, checksum));
        TarItem item{TarItem::Type::directory, path};
        take_owner(item, meta);
        item.xattrs = xattr_list(meta.xattrs);
        tar_.add(item);
    }

    void file(const std::string& path, const Checksum& checksum) {
        in_context("\"" + path + "\"", [&] {
            FileObject object(repository_, checksum);
            if (const auto first = first_of_group(path)) return hard_link(path, *first, object.meta());
            TarItem item;
            item.path = path;
            item.xattrs = xattr_list(object.meta().xattrs);
            add_object(tar_, std::move(item), object, checksum, cancellation_);
        });
    }

    // Docker and podman give the file the owner and mode of the last of its links.
    void hard_link(const std::string& path, const std::string& target, const FileMeta& meta) {
        TarItem item{TarItem::Type::hardlink, path, target};
        take_owner(item, meta);
        tar_.add(item);
    }
    // CHILD is what PATH is in the layer's commit, if it is there. Otherwise the file is a lower layer's: as the image
    // has it.
    void hard_link(const std::string& path, const std::string& target, std::optional<TreeEntry> child) {
        if (!child || child->directory) child = merged_file(path);
        if (!child) child = merged_file(target);
        if (!child) return tar_.add({TarItem::Type::hardlink, path, target});
        hard_link(path, target, FileObject(repository_, child->object).meta());
    }

    // The file that the image has at PATH; nullopt if there is none.
    std::optional<TreeEntry> merged_file(const std::string& path) const {
        auto found = find(load(merged_), merged_path(split_path(path), record_.moved_var));
        if (found && found->directory) found.reset();
        return found;
    }

    // The path that has the content of PATH's hard links already; PATH is the one from now on if there is none.
    std::optional<std::string> first_of_group(const std::string& path) {
        if (link_targets_.empty()) return std::nullopt;
        auto group = path;
        for (unsigned step = 0; step < max_link_chain; ++step) {
            const auto link = link_targets_.find(group);
            if (link == link_targets_.end()) break;
            group = link->second;
        }
        const auto [first, is_new] = first_.emplace(group, path);
        return is_new || first->second == path ? std::nullopt : std::optional(first->second);
    }

    const Repository& repository_;
    const Cancellation& cancellation_;
    const Repository::Commit commit_;
    const LayerRecord record_;
    const Checksum merged_;  // root of the image's tree
    const Checksum default_meta_;
    TarWriter tar_;
    std::set<std::string> links_first_, unresolved_;  // paths of these links of the record
    std::map<std::string, std::string> first_to_;     // the first of those that are both, by target
    std::set<std::string> moved_;                     // where the commit has what is at the root
    std::map<std::string, std::string> own_names_;    // of what it has beside that
    std::map<std::string, std::string> link_targets_, first_;
    std::map<std::string, std::optional<TreeEntry>> last_;  // see LayerRecord::order
    std::set<std::string> lost_;                            // see LayerRecord; but for those that are written
    std::set<std::string> written_;                         // for good
    std::set<std::string> whiteouts_;                       // of this layer
    bool has_unordered_ = false;
    enum class Pass { collect, write_whiteouts, write } pass_ = Pass::write;
};

}  // namespace

void write_derived_layer(const Repository& repository, const Cancellation& cancellation, const LayerInImage& layer,
                         ByteSink& sink, const TarEntryHook& entry) {
    DerivedExport(repository, cancellation, layer, sink, entry).run();
}

}  // namespace imaged
