// SPDX-License-Identifier: Apache-2.0
#include "store/records/stored-image.hpp"

#include <algorithm>

#include "base/system-failure.hpp"
#include "store/files/ref-name.hpp"
#include "store/records/layer-ref.hpp"

namespace imaged {

namespace {

std::string required(const Repository::Commit& commit, const char* key) {
    auto text = commit.text(key);
    if (!text) throw Error(ErrorKind::repository_damaged, std::string("it has no metadata ") + key);
    return *std::move(text);
}

FilteredPaths read_filtered(const Repository::Commit& commit) {
    FilteredPaths filtered;
    const VariantPtr value(g_variant_lookup_value(commit.metadata.get(), filtered_key, G_VARIANT_TYPE("a{sa{su}}")));
    if (!value) return filtered;
    GVariantIter layers;
    g_variant_iter_init(&layers, value.get());
    const char* layer = nullptr;
    GVariantIter* paths = nullptr;
    while (g_variant_iter_next(&layers, "{&sa{su}}", &layer, &paths) != FALSE) {
        const std::unique_ptr<GVariantIter, Free<g_variant_iter_free>> owner(paths);
        const char* path = nullptr;
        guint32 count = 0;
        while (g_variant_iter_next(paths, "{&su}", &path, &count) != FALSE) filtered[layer][path] = count;
    }
    return filtered;
}

StoredImage read_image(const Repository& repository, const Checksum& merge_commit, bool base_may_be_missing) {
    const auto commit = repository.load_commit(merge_commit);
    auto manifest_text = required(commit, manifest_key);
    auto config_text = required(commit, config_key);
    auto manifest = Manifest::parse(manifest_text);
    auto config = ImageConfig::parse(config_text);
    auto layout = ImageLayout::of(manifest, config);
    std::optional<Checksum> base;
    if (layout.ostree) {
        // ostree-ext's merge commits have no parent.
        base = commit.parent ? commit.parent : layer_target(repository, layout.layers.front()).commit;
        if (!base && !base_may_be_missing)
            throw Error(ErrorKind::repository_damaged,
                        "its commit layer " + layout.layers.front().blob.digest.text() + " is missing");
    }
    return {.merge_commit = merge_commit,
            .base_commit = base,
            .tree = commit.tree,
            .meta = commit.meta,
            .created = commit.timestamp,
            .digest = Digest::parse(required(commit, manifest_digest_key)),
            .manifest_text = std::move(manifest_text),
            .config_text = std::move(config_text),
            .manifest = std::move(manifest),
            .config = std::move(config),
            .layout = std::move(layout),
            .importer = commit.text(importer_version_key).value_or(""),
            .filtered = read_filtered(commit),
            .dropped = DroppedCounts::read(commit),
            .base_is_parent = base && commit.parent};
}

}  // namespace

const Checksum& StoredImage::deployable() const {
    const bool derived = std::any_of(layout.layers.begin(), layout.layers.end(),
                                     [](const auto& layer) { return layer.kind == LayerKind::derived; });
    return base_commit && !derived ? *base_commit : merge_commit;
}

StoredImage StoredImage::find(const Repository& repository, const ImageReference& image) {
    const auto target = repository.resolve(image_ref(image));
    if (!target.exists) throw no_such_image(image);
    return in_context("image " + image.image(), [&] { return load(repository, target.commit); });
}

Error no_such_image(const ImageReference& image) {
    return Error(ErrorKind::not_found, "image " + image.image() + " is not in the repository");
}

StoredImage StoredImage::load(const Repository& repository, const std::optional<Checksum>& merge_commit,
                              bool base_may_be_missing) {
    if (!merge_commit) throw Error(ErrorKind::repository_damaged, broken_ref);
    try {
        return read_image(repository, *merge_commit, base_may_be_missing);
    } catch (const Error& error) {
        // Whatever is wrong with a stored document is wrong with the repository.
        const auto cause = error.with_context("merge commit " + merge_commit->hex());
        throw as_damage(cause);
    }
}

std::optional<StoredImage> StoredImage::load_if_whole(const Repository& repository,
                                                      const std::optional<Checksum>& merge_commit,
                                                      bool base_may_be_missing) {
    try {
        return load(repository, merge_commit, base_may_be_missing);
    } catch (const Error& error) {
        if (is_system_failure(error)) throw;
        return std::nullopt;
    }
}

}  // namespace imaged
