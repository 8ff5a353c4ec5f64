// SPDX-License-Identifier: Apache-2.0
#include "store/merge.hpp"

#include <array>

#include "base/error.hpp"
#include "layer/tar-reader.hpp"
#include "store/layer-overlay.hpp"

namespace imaged {

namespace {

// Files that container builds leave behind as mount points; a host that finds them empty has no name and no resolver.
constexpr std::array<const char*, 2> build_leftovers{"hostname", "resolv.conf"};

class Merge {
public:
    Merge(const DerivedLayerRules& rules, bool generic, ObjectSink& sink)
        : unmap_var_(generic && rules.mapping.move_var), sink_(sink), store_(sink) {}

    // A commit's root in the image's own paths.
    TreeEntry unmap(TreeEntry root, const LayerRecord* record) {
        root = bring_up(root, etc_parent, "etc", record);
        if (unmap_var_) root = bring_up(root, var_parent, "var", record);
        return root;
    }

    // The inverse.
    TreeEntry map(TreeEntry root) {
        root = take_down(root, etc_parent, "etc");
        if (unmap_var_) root = take_down(root, var_parent, "var");
        return root;
    }

    // The layer's root without the top-level entries that the rules do not keep.
    TreeEntry filter(const TreeEntry& root, std::map<std::string, std::uint32_t>& dropped) {
        auto directory = store_.load(root.object);
        const auto size = directory.size();
        for (auto entry = directory.begin(); entry != directory.end();) {
            std::string_view name = entry->first;
            if (name.starts_with(whiteout_prefix)) name.remove_prefix(whiteout_prefix.size());
            const bool runtime = entry->second.directory && is_runtime_directory(name);
            if (name == "usr" || name == "etc" || name == "var" || runtime) {
                ++entry;
            } else {
                ++dropped[std::string(name)];
                entry = directory.erase(entry);
            }
        }
        return directory.size() == size ? root : TreeEntry{true, store_.store(directory), root.meta};
    }

    // Links may have led entries into directories that are mounted over at run time.
    TreeEntry empty_runtime_directories(TreeEntry root, const std::optional<TreeEntry>& base) {
        for (const auto directory : runtime_directories) {
            const std::string name(directory);
            const auto found = store_.find(root, {name});
            if (!found || !found->directory || (base && store_.find(*base, {name}) == found)) continue;
            root = store_.replace(root, {name}, TreeEntry{true, store_.empty_directory().object, found->meta});
        }
        return root;
    }

    TreeEntry drop_build_leftovers(TreeEntry root) {
        for (const char* name : build_leftovers) {
            const Path path{"etc", name};
            const auto found = store_.find(root, path);
            if (found && !found->directory && is_empty_file(found->object))
                root = store_.replace(root, path, std::nullopt);
        }
        return root;
    }

    TreeStore& store() { return store_; }

private:
    // Moves NAME and its whiteout from below PARENT to the root.
    TreeEntry bring_up(TreeEntry root, const Path& parent, const std::string& name, const LayerRecord* record) {
        const auto from = store_.find(root, parent);
        if (!from || !from->directory) return root;
        auto directory = store_.load(from->object);
        bool moved = false;
        for (const auto& entry : {name, std::string(whiteout_prefix) + name}) {
            const auto found = directory.find(entry);
            if (found == directory.end() || store_.find(root, {entry})) continue;
            root = store_.replace(root, {entry}, found->second);
            directory.erase(found);
            moved = true;
        }
        if (!moved) return root;
        root = store_.replace(root, parent, TreeEntry{true, store_.store(directory), from->meta});
        return record == nullptr ? root : drop_implied(root, parent, *record);
    }

    // Directories that were made for nothing but what moved.
    TreeEntry drop_implied(TreeEntry root, Path path, const LayerRecord& record) {
        const auto empty = store_.empty_directory().object;
        for (; !path.empty(); path.pop_back()) {
            const auto found = store_.find(root, path);
            const bool implied = record.has_implicit ? record.implicit_directories.contains(join_path(path))
                                                     : found->meta == store_.default_meta();
            if (found->object != empty || !implied) break;
            root = store_.replace(root, path, std::nullopt);
        }
        return root;
    }

    TreeEntry take_down(const TreeEntry& root, const Path& parent, const std::string& name) {
        const auto found = store_.find(root, {name});
        if (!found) return root;
        for (std::size_t length = 1; length <= parent.size(); ++length) {
            const auto place =
                store_.find(root, Path(parent.begin(), parent.begin() + static_cast<std::ptrdiff_t>(length)));
            if (place && !place->directory)
                throw Error(ErrorKind::unsupported_image, "/" + name + " cannot be stored: /" + join_path(parent) +
                                                              " is not a directory in this image");
        }
        auto path = parent;
        path.push_back(name);
        if (store_.find(root, path))
            throw Error(ErrorKind::unsupported_image,
                        "/" + name + " cannot be stored: /" + join_path(path) + " is in its place");
        return store_.replace(store_.replace(root, {name}, std::nullopt), path, found);
    }

    bool is_empty_file(const Checksum& object) { return sink_.file_size(object) == 0; }

    const bool unmap_var_;
    ObjectSink& sink_;
    TreeStore store_;
};

}  // namespace

MergedTree merge_layers(const std::optional<TreeEntry>& base,
                        const std::function<std::optional<MergeLayer>()>& next_layer, const DerivedLayerRules& rules,
                        ObjectSink& sink) {
    Merge merge(rules, !base, sink);
    MergedTree merged;
    std::optional<TreeEntry> root;
    std::optional<TreeEntry> own_base;
    if (base) root = own_base = merge.unmap(*base, nullptr);
    while (const auto layer = next_layer()) {
        in_context("layer " + layer->digest.text(), [&] {
            auto upper = merge.unmap(layer->root, &layer->record);
            if (rules.root == RootPolicy::usr_etc_var && layer->record.root == RootPolicy::everything) {
                std::map<std::string, std::uint32_t> dropped;
                upper = merge.filter(upper, dropped);
                if (!dropped.empty()) merged.filtered[layer->digest.text()] = std::move(dropped);
            }
            LayerOverlay overlay(merge.store(), layer->record);
            root = root ? overlay.apply(*root, upper) : overlay.apply(upper);
        });
    }
    if (!root) root = merge.store().empty_directory();
    merged.root = merge.map(merge.drop_build_leftovers(merge.empty_runtime_directories(*root, own_base)));
    merge.store().finish(merged.root);
    return merged;
}

}  // namespace imaged
