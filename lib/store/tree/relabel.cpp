// SPDX-License-Identifier: Apache-2.0
#include "store/tree/relabel.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <map>
#include <vector>

#include "base/error.hpp"
#include "store/objects/file-object.hpp"
#include "store/tree/selinux-policy.hpp"

namespace imaged {

namespace {

const std::string selinux_label = "security.selinux";
// Deeper than any path may be that somebody can open; bounds the recursion.
constexpr int max_depth = 2048;

std::optional<std::string> label_of(const FileMeta& meta) {
    for (const auto& [name, value] : xattr_list(meta.xattrs)) {
        if (name == selinux_label) return value;
    }
    return std::nullopt;
}

FileMeta with_label(const FileMeta& meta, const std::string& label) {
    auto xattrs = xattr_list(meta.xattrs);
    std::erase_if(xattrs, [](const auto& xattr) { return xattr.first == selinux_label; });
    xattrs.emplace_back(selinux_label, label);
    std::sort(xattrs.begin(), xattrs.end());
    auto labelled = meta;
    labelled.xattrs = make_xattrs(xattrs);
    return labelled;
}

// Where PATH of a commit is at run time.
std::string runtime_path(const std::string& path) {
    static const std::string etc = "/usr/etc";
    if (path.starts_with(etc) && (path.size() == etc.size() || path[etc.size()] == '/')) return path.substr(4);
    return path.empty() ? "/" : path;
}

class Relabelling {
public:
    Relabelling(const Repository& repository, ObjectSink& sink, TreeStore& store, const SelinuxPolicy& policy,
                const Cancellation& cancellation)
        : repository_(repository), sink_(sink), store_(store), policy_(policy), cancellation_(cancellation) {}

    // KEPT, if it is there, is the same directory in a base whose labels are right.
    TreeEntry directory(const TreeEntry& entry, const std::optional<TreeEntry>& kept, const std::string& path,
                        int depth = 0) {
        if (kept == entry) return entry;
        if (depth > max_depth) throw Error(ErrorKind::unsupported_image, "its directories are nested too deeply");
        auto listing = store_.load(entry.object);
        const auto kept_listing = kept && kept->directory ? store_.load(kept->object) : Directory();
        bool changed = false;
        for (auto& [name, child] : listing) {
            cancellation_.check();
            const auto found = kept_listing.find(name);
            const auto kept_child =
                found == kept_listing.end() ? std::nullopt : std::optional<TreeEntry>(found->second);
            const auto labelled = child.directory ? directory(child, kept_child, path + "/" + name, depth + 1)
                                                  : file(child, kept_child, path + "/" + name);
            if (labelled == child) continue;
            child = labelled;
            changed = true;
        }
        const bool meta_is_kept = kept && kept->directory && kept->meta == entry.meta;
        return {true, changed ? store_.store(listing) : entry.object,
                meta_is_kept ? entry.meta : directory_meta(entry.meta, path)};
    }

    std::uint64_t changed() const { return changed_; }

private:
    TreeEntry file(const TreeEntry& entry, const std::optional<TreeEntry>& kept, const std::string& path) {
        if (kept == entry) return entry;
        FileObject object(repository_, entry.object);
        const auto label = policy_.label(runtime_path(path), object.meta().mode);
        if (!label || label_of(object.meta()) == label) return entry;
        ++changed_;
        return {
            false, in_context("relabel " + path, [&] { return copy(object, with_label(object.meta(), *label)); }), {}};
    }

    Checksum copy(FileObject& object, const FileMeta& meta) {
        if (object.is_symlink()) return sink_.put_symlink(meta, object.target());
        std::vector<std::byte> piece(std::min<std::uint64_t>(object.size(), ObjectSink::max_small_bytes));
        if (object.size() <= ObjectSink::max_small_bytes) {
            piece.resize(object.read(piece));
            return sink_.put_file(meta, std::move(piece));
        }
        repository_.require_space(object.size());
        const auto large = sink_.begin_large(meta, object.size());
        for (auto size = object.read(piece); size > 0; size = object.read(piece)) {
            cancellation_.check();
            large->append(std::span(piece).first(size));
        }
        // Not before: each is a new object, and where it cannot be shared it would be read twice.
        if (const auto file = object.content_fd()) large->try_to_share(*file);
        return large->finish();
    }

    Checksum directory_meta(const Checksum& checksum, const std::string& path) {
        const auto label = policy_.label(runtime_path(path), S_IFDIR);
        if (!label) return checksum;
        const auto [known, is_new] = metas_.try_emplace({checksum, *label});
        if (is_new) {
            const auto meta = parse_dirmeta(sink_.read_metadata(ObjectType::dirmeta, checksum));
            known->second = label_of(meta) == label
                                ? checksum
                                : sink_.put_metadata(ObjectType::dirmeta, serialise_dirmeta(with_label(meta, *label)));
        }
        if (known->second != checksum) ++changed_;
        return known->second;
    }

    const Repository& repository_;
    ObjectSink& sink_;
    TreeStore& store_;
    const SelinuxPolicy& policy_;
    const Cancellation& cancellation_;
    std::map<std::pair<Checksum, std::string>, Checksum> metas_;
    std::uint64_t changed_ = 0;
};

}  // namespace

RelabelledTree relabel(const Repository& repository, StagingArea& staging, ObjectSink& sink, const TreeEntry& root,
                       const std::optional<TreeEntry>& base, const Cancellation& cancellation,
                       const std::function<void()>& begin) {
    TreeStore store(sink);
    const auto policy = SelinuxPolicy::find(repository, staging, store, root);
    if (!policy) return {root, 0};
    begin();
    const bool base_is_labelled =
        base && policy->is_in(store, *base) &&
        label_of(parse_dirmeta(sink.read_metadata(ObjectType::dirmeta, base->meta))).has_value();
    Relabelling relabelling(repository, sink, store, *policy, cancellation);
    const auto labelled =
        relabelling.directory(root, base_is_labelled ? base : std::optional<TreeEntry>(), std::string());
    store.finish(labelled);
    return {labelled, relabelling.changed()};
}

}  // namespace imaged
