// SPDX-License-Identifier: Apache-2.0
#include "store/import/merge-check.hpp"

#include <map>
#include <utility>

#include "base/error.hpp"
#include "base/tree-path.hpp"
#include "store/fetch/import-plan.hpp"
#include "store/records/layer-record.hpp"
#include "store/records/layer-ref.hpp"
#include "store/tree/merge-commit.hpp"
#include "store/tree/tree-store.hpp"

namespace imaged {

namespace {

constexpr std::size_t max_listed = 10;

// Mount points that container builds leave empty; programs drop them or do not.
bool is_build_leftover(const std::string& path) {
    return path == "usr/etc/hostname" || path == "usr/etc/resolv.conf";
}

class Comparison {
public:
    Comparison(const Repository& repository, ObjectSink& sink, const Cancellation& cancellation)
        : repository_(repository), sink_(sink), cancellation_(cancellation) {}

    MergeDifference run(const TreeEntry& stored, const TreeEntry& merged) {
        compare(stored, merged, "");
        return std::move(difference_);
    }

private:
    void compare(const TreeEntry& stored, const TreeEntry& merged, const std::string& path) {
        cancellation_.check();
        if (stored.meta != merged.meta) {
            ++difference_.directory_count;
            if (difference_.directories.size() < max_listed) difference_.directories.push_back("/" + path);
        }
        if (stored.object == merged.object) return;
        std::map<std::string, std::pair<std::optional<TreeEntry>, std::optional<TreeEntry>>> names;
        for (const auto& [name, entry] :
             parse_directory(repository_.require_metadata(ObjectType::dirtree, stored.object)))
            names[name].first = entry;
        for (const auto& [name, entry] : parse_directory(sink_.read_metadata(ObjectType::dirtree, merged.object)))
            names[name].second = entry;
        for (const auto& [name, entries] : names) {
            const auto& [ours, theirs] = entries;
            if (ours == theirs) continue;
            if (ours && theirs && ours->directory && theirs->directory) {
                compare(*ours, *theirs, join_path(path, name));
            } else if (!is_build_leftover(join_path(path, name))) {
                ++difference_.entry_count;
                if (difference_.entries.size() < max_listed) difference_.entries.push_back("/" + join_path(path, name));
            }
        }
    }

    const Repository& repository_;
    ObjectSink& sink_;
    const Cancellation& cancellation_;
    MergeDifference difference_;
};

}  // namespace

DerivedLayerRules rules_of(const Repository& repository, const StoredImage& image,
                           const std::vector<Checksum>& layers) {
    std::optional<Checksum> base_tree;
    if (image.base_commit) base_tree = repository.load_commit(*image.base_commit).tree;
    auto rules = derived_layer_rules(&repository, base_tree);
    for (auto i = layers.size(); i-- > 0;) {
        if (image.layout.layers[i].kind != LayerKind::derived) continue;
        const auto record = LayerRecord::read(repository.load_commit(layers[i]));
        if (!record.has_implicit) continue;
        rules.mapping.move_var = record.moved_var;
        break;
    }
    return rules;
}

bool is_sound(const MergeDifference& difference, const StoredImage& image) {
    return difference.entry_count == 0 &&
           (difference.directory_count == 0 || !image.importer.starts_with(own_importer));
}

SourceImage as_source(const StoredImage& image) {
    return {.digest = image.digest,
            .manifest_text = image.manifest_text,
            .config_text = image.config_text,
            .manifest = image.manifest,
            .config = image.config,
            .layout = image.layout,
            .signature_policy = {}};
}

MergeDifference MergeCheck::run(const StoredImage& image) {
    if (!staging_) staging_ = repository_.make_staging();
    if (!pool_) pool_.emplace(1);
    const auto layers = layer_commits(repository_, image.layout);
    const auto source = as_source(image);
    const auto rules = rules_of(repository_, image, layers);
    const auto merged = write_merge_commit(repository_, *staging_, *pool_, {source, layers, image.base_commit, rules},
                                           cancellation_, [] {});
    const auto bytes = merged.sink->read_metadata(ObjectType::commit, merged.commit);
    const auto commit = Repository::parse_commit(bytes, merged.commit);
    return Comparison(repository_, *merged.sink, cancellation_)
        .run({true, image.tree, image.meta}, {true, commit.tree, commit.meta});
}

MergeDifference check_merge(const Repository& repository, const StoredImage& image, const Cancellation& cancellation) {
    return MergeCheck(repository, cancellation).run(image);
}

}  // namespace imaged
