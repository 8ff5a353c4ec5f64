// SPDX-License-Identifier: Apache-2.0
#include "store/tree/merge.hpp"

#include <array>
#include <unordered_set>

#include "base/error.hpp"
#include "base/tree-path.hpp"
#include "store/tree/commit-layout.hpp"
#include "store/tree/layer-overlay.hpp"
#include "store/tree/root-policy.hpp"

namespace imaged {

namespace {

// Files that container builds leave behind as mount points; a host that finds them empty has no name and no resolver.
constexpr std::array<const char*, 2> build_leftovers{"hostname", "resolv.conf"};

using Counts = std::map<std::string, std::uint32_t>;

class Merge {
public:
    Merge(const DerivedLayerRules& rules, const TextReader& read_text, ObjectSink& sink)
        : mapping_(rules.mapping), read_text_(read_text), sink_(sink), store_(sink), layout_(store_, mapping_) {}

    void start(const std::optional<TreeEntry>& base) {
        if (base) base_ = layout_.own_base(*base);
        root_ = base_.value_or(store_.empty_directory());
    }

    void add(const MergeLayer& layer) {
        auto upper = drop_build_leftovers(layout_.own_layer(layer.root, layer.record));
        const Path aside{std::string(displaced_directory)};
        const auto displaced = store_.find(upper, aside);
        if (displaced) upper = store_.replace(upper, aside, std::nullopt);
        last_layer_ = layer.digest.text();
        note_places(upper);
        LayerOverlay overlay(store_, layer.record, lost_);
        root_ = overlay.apply(root_, upper, displaced);
        merged_.dropped_links += overlay.dropped_links();
        if (!overlay.conflicts().empty()) conflicts_[last_layer_] = overlay.conflicts();
        if (base_) count_beside(layer, upper, overlay);
        store_.retain(std::array{root_, base_.value_or(root_)});
    }

    MergedTree finish() {
        if (base_ && policy() == RootPolicy::usr_etc_var) {
            merged_.filtered = std::move(beside_);
            restore_top();
        }
        empty_runtime_directories();
        merged_.root = layout_.committed(drop_build_leftovers(root_));
        for (const auto& [place, count] : layout_.lost()) merged_.filtered[last_with_[place]][place] += count;
        for (const auto& [layer, counts] : conflicts_) {
            for (const auto& [place, count] : counts) merged_.filtered[layer][place] += count;
        }
        store_.finish(merged_.root);
        return std::move(merged_);
    }

private:
    // A file of this kind hides nothing: what is below shows.
    TreeEntry drop_build_leftovers(TreeEntry root) {
        for (const char* name : build_leftovers) {
            const Path path{"etc", name};
            const auto found = store_.find(root, path);
            if (found && !found->directory && sink_.file_size(found->object) == 0)
                root = store_.replace(root, path, std::nullopt);
        }
        return root;
    }

    // Which layer what is lost between two directories is counted for: the last one that has any of them.
    void note_places(const TreeEntry& upper) {
        for (const auto& move : mapping_.moves()) {
            const auto place = join_path(move.place());
            if (store_.find(upper, move.place()) || !last_with_.contains(place)) last_with_[place] = last_layer_;
        }
    }

    // What a layer has at the top that a read-only root cannot show, unless links below led it elsewhere.
    void count_beside(const MergeLayer& layer, const TreeEntry& upper, const LayerOverlay& overlay) {
        Counts counts;
        for (const auto& [name, entry] : store_.load(upper.object)) {
            std::string_view top = name;
            if (!entry.directory && is_whiteout(name)) top.remove_prefix(whiteout_prefix.size());
            if (is_deployed(top, top != name || entry.directory) || name == opaque_whiteout ||
                overlay.followed().contains(name))
                continue;
            if (const auto count = count_entries(entry, name, overlay); count > 0) counts[std::string(top)] += count;
        }
        for (const auto& link : layer.record.unresolved) {
            const auto top = split_path(own_path(link.path)).front();
            if (!is_deployed(top, true) && !overlay.followed().contains(top)) ++counts[top];
        }
        if (!counts.empty()) beside_[layer.digest.text()] = std::move(counts);
    }

    std::uint32_t count_entries(const TreeEntry& entry, const std::string& path, const LayerOverlay& overlay) {
        if (!entry.directory) return 1;
        std::uint32_t count = overlay.is_implicit(path, entry.meta) ? 0 : 1;
        for (const auto& [name, inside] : store_.load(entry.object))
            count += count_entries(inside, join_path(path, name), overlay);
        return count;
    }

    RootPolicy policy() {
        return root_policy([&](const std::string& path) -> std::optional<std::string> {
            const auto found = store_.find(root_, store_.resolve(root_, split_path(path), true));
            if (!found || found->directory) return std::nullopt;
            return read_text_(found->object);
        });
    }

    // Beside what OSTree deploys, the top is the base's.
    void restore_top() {
        auto top = store_.load(root_.object);
        auto restored = store_.load(base_->object);
        std::erase_if(restored, [](const auto& entry) { return is_deployed(entry.first, entry.second.directory); });
        for (const auto& [name, entry] : top) {
            if (is_deployed(name, entry.directory)) {
                restored[name] = entry;
            } else if (const auto found = restored.find(name); found == restored.end() || found->second != entry) {
                count_led_to(name, entry);
            }
        }
        root_.object = store_.store(restored);
    }

    // Links may have led entries of layers to where nothing is kept. The last layer stands for all of them.
    void count_led_to(const std::string& name, const TreeEntry& dropped) {
        for (const auto& [layer, counts] : merged_.filtered) {
            if (counts.contains(name)) return;
        }
        merged_.filtered[last_layer_][name] += store_.count(dropped);
    }

    // Likewise into directories that are mounted over at run time.
    void empty_runtime_directories() {
        for (const auto directory : runtime_directories) {
            const std::string name(directory);
            const auto found = store_.find(root_, {name});
            if (!found || !found->directory || (base_ && store_.find(*base_, {name}) == found)) continue;
            const TreeEntry emptied{true, store_.empty_directory().object, found->meta};
            if (const auto count = store_.count(*found) - 1; count > 0) merged_.filtered[last_layer_][name] += count;
            root_ = store_.replace(root_, {name}, emptied);
        }
    }

    const PathMapping mapping_;
    const TextReader& read_text_;
    ObjectSink& sink_;
    TreeStore store_;
    CommitLayout layout_;
    std::optional<TreeEntry> base_;
    TreeEntry root_;
    MergedTree merged_;
    std::map<std::string, Counts> beside_;
    std::map<std::string, Counts> conflicts_;  // see LayerOverlay
    std::map<std::string, std::string> last_with_;
    std::string last_layer_;
    std::unordered_set<std::string> lost_;  // see LayerOverlay
};

}  // namespace

MergedTree merge_layers(const std::optional<TreeEntry>& base,
                        const std::function<std::optional<MergeLayer>()>& next_layer, const DerivedLayerRules& rules,
                        const TextReader& read_text, ObjectSink& sink) {
    Merge merge(rules, read_text, sink);
    merge.start(base);
    while (const auto layer = next_layer()) in_context("layer " + layer->digest.text(), [&] { merge.add(*layer); });
    return merge.finish();
}

}  // namespace imaged
