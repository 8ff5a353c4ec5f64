// SPDX-License-Identifier: Apache-2.0
#include "store/tree/merge-commit.hpp"

#include "base/error.hpp"
#include "oci/timestamp.hpp"
#include "store/records/layer-record.hpp"
#include "store/records/stored-image.hpp"
#include "store/tree/merge.hpp"
#include "store/tree/relabel.hpp"
#include "store/tree/root-policy.hpp"

namespace imaged {

namespace {

// Names of what was left out, in all layers: they share the commit with a manifest and a config.
constexpr std::size_t max_filtered_names = 10'000;

// What an image without a usable time has: the same at every pull, as the same image must give the same commit.
constexpr std::uint64_t no_time = 0;

std::uint64_t timestamp_of(const SourceImage& source) {
    const auto annotation = source.manifest.annotations.find("org.opencontainers.image.created");
    if (annotation != source.manifest.annotations.end()) {
        if (const auto time = parse_timestamp(annotation->second)) return *time;
    }
    return parse_timestamp(source.config.created.value_or("")).value_or(no_time);
}

VariantPtr image_metadata(const SourceImage& source, const FilteredPaths& filtered, const DroppedCounts& dropped) {
    GVariantBuilder metadata;
    g_variant_builder_init(&metadata, G_VARIANT_TYPE_VARDICT);
    const auto add = [&](const char* key, const std::string& text) {
        g_variant_builder_add(&metadata, "{sv}", key, g_variant_new_string(text.c_str()));
    };
    add(manifest_digest_key, source.digest.text());
    add(manifest_key, source.manifest_text);
    add(config_key, source.config_text);
    add(importer_version_key, importer_version());
    GVariantBuilder layers;
    g_variant_builder_init(&layers, G_VARIANT_TYPE("a{sa{su}}"));
    for (const auto& [layer, paths] : filtered) {
        g_variant_builder_open(&layers, G_VARIANT_TYPE("{sa{su}}"));
        g_variant_builder_add(&layers, "s", layer.c_str());
        g_variant_builder_open(&layers, G_VARIANT_TYPE("a{su}"));
        for (const auto& [path, count] : paths) g_variant_builder_add(&layers, "{su}", path.c_str(), count);
        g_variant_builder_close(&layers);
        g_variant_builder_close(&layers);
    }
    g_variant_builder_add(&metadata, "{sv}", filtered_key, g_variant_builder_end(&layers));
    dropped.write(metadata);
    return adopt_variant(g_variant_builder_end(&metadata));
}

TreeEntry root_of(const Repository::Commit& commit) {
    return {true, commit.tree, commit.meta};
}

}  // namespace

MergeCommit write_merge_commit(const Repository& repository, StagingArea& staging, WriterPool& pool,
                               const MergeInput& input, const Cancellation& cancellation,
                               const std::function<void()>& on_relabel) {
    auto sink = repository.make_sink(staging, pool);
    FilteredPaths filtered;
    DroppedCounts dropped;
    std::optional<TreeEntry> base_root;
    if (input.base) base_root = root_of(repository.load_commit(*input.base));
    std::size_t next = 0;
    const auto next_layer = [&]() -> std::optional<MergeLayer> {
        for (; next < input.layers.size(); ++next) {
            const auto& layer = input.source.layout.layers[next];
            if (layer.kind != LayerKind::derived) continue;
            const auto commit = repository.load_commit(input.layers[next++]);
            MergeLayer merge_layer{layer.blob.digest, root_of(commit), LayerRecord::read(commit)};
            for (const auto& [path, count] : merge_layer.record.filtered)
                filtered[layer.blob.digest.text()][path] = count;
            dropped += merge_layer.record.dropped;
            return merge_layer;
        }
        return std::nullopt;
    };
    const TextReader read_text = [&](const Checksum& file) {
        return repository.read_text(file, max_prepare_root_bytes);
    };
    const auto merged = merge_layers(base_root, next_layer, input.rules, read_text, *sink);
    dropped.special_files += merged.dropped_links;
    for (const auto& [layer, paths] : merged.filtered) {
        for (const auto& [path, count] : paths) filtered[layer][path] += count;
    }
    std::size_t filtered_names = 0;
    for (const auto& [layer, paths] : filtered) filtered_names += paths.size();
    if (filtered_names > max_filtered_names)
        throw Error(ErrorKind::unsupported_image, "more than the limit of " + std::to_string(max_filtered_names) +
                                                      " top-level names that are not kept");
    const auto labelled = relabel(repository, staging, *sink, merged.root, base_root, cancellation, on_relabel);
    CommitContent commit;
    commit.metadata = image_metadata(input.source, filtered, dropped);
    commit.parent = input.base;
    commit.timestamp = timestamp_of(input.source);
    commit.tree = labelled.root.object;
    commit.meta = labelled.root.meta;
    const auto checksum = sink->put_metadata(ObjectType::commit, serialise_commit(commit));
    sink->flush();
    return {std::move(sink), checksum, labelled.changed};
}

}  // namespace imaged
