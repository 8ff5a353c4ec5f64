// SPDX-License-Identifier: Apache-2.0
// Puts an image into a repository without a source: generic, of layers that are given as path to content.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/json.hpp"
#include "layer/layer-tree.hpp"
#include "store/files/ref-name.hpp"
#include "store/records/layer-record.hpp"
#include "store/records/stored-image.hpp"
#include "temporary-repository.hpp"

namespace imaged {

class StoredImageBuilder {
public:
    explicit StoredImageBuilder(TemporaryRepository& to)
        : repository_(to.repository), sink_(to.repository.make_sink(to.staging, to.pool)) {}

    // A layer of regular files; what is in LINKS is a symbolic link with that target.
    StoredImageBuilder& layer(const std::map<std::string, std::string>& files,
                              const std::map<std::string, std::string>& links = {}) {
        DerivedLayer layer;
        LayerTree tree;
        for (const auto& [path, content] : files) {
            const auto bytes = std::as_bytes(std::span(content));
            tree.put_file(split_path(path), put(bytes));
        }
        for (const auto& [path, target] : links)
            tree.put_file(split_path(path), sink_->put_symlink({0, 0, 0120777, nullptr}, target));
        const DerivedLayerRules rules;
        layer.root = tree.write(rules.mapping, *sink_);
        const auto diff_id = Digest(sha256("diff-id of " + std::to_string(layers_.size())));
        CommitContent commit;
        commit.metadata = layer_metadata(layer, rules, diff_id);
        commit.tree = layer.root.tree;
        commit.meta = layer.root.meta;
        layers_.push_back({Digest(sha256("layer " + std::to_string(layers_.size()))), diff_id,
                           sink_->put_metadata(ObjectType::commit, serialise_commit(commit)), layer.root});
        return *this;
    }

    // The merge is the last layer's tree: enough for what does not merge. Returns the merge commit.
    Checksum finish(const std::string& reference) {
        using nlohmann::json;
        json config{{"rootfs", {{"type", "layers"}, {"diff_ids", json::array()}}}, {"config", json::object()}};
        json manifest{{"schemaVersion", 2}, {"layers", json::array()}};
        for (const auto& layer : layers_) {
            config["rootfs"]["diff_ids"].push_back(layer.diff_id.text());
            manifest["layers"].push_back({{"mediaType", "application/vnd.oci.image.layer.v1.tar"},
                                          {"digest", layer.digest.text()},
                                          {"size", 1000}});
        }
        manifest["config"] = {{"mediaType", "application/vnd.oci.image.config.v1+json"},
                              {"digest", "sha256:" + sha256(config.dump()).hex()},
                              {"size", config.dump().size()}};
        GVariantBuilder metadata;
        g_variant_builder_init(&metadata, G_VARIANT_TYPE_VARDICT);
        const auto add = [&](const char* key, const std::string& text) {
            g_variant_builder_add(&metadata, "{sv}", key, g_variant_new_string(text.c_str()));
        };
        add(manifest_digest_key, "sha256:" + sha256(manifest.dump()).hex());
        add(manifest_key, manifest.dump());
        add(config_key, config.dump());
        CommitContent commit;
        commit.metadata = adopt_variant(g_variant_builder_end(&metadata));
        commit.tree = layers_.back().root.tree;
        commit.meta = layers_.back().root.meta;
        const auto merge = sink_->put_metadata(ObjectType::commit, serialise_commit(commit));
        sink_->flush();
        sink_->publish();
        for (const auto& layer : layers_) repository_.set_ref(layer_ref(layer.digest), layer.commit);
        repository_.set_ref(image_ref(ImageReference::parse(reference)), merge);
        return merge;
    }

private:
    struct Layer {
        Digest digest, diff_id;
        Checksum commit;
        LayerTree::Root root;
    };

    Checksum put(std::span<const std::byte> bytes) {
        const FileMeta meta{0, 0, 0100644, nullptr};
        if (bytes.size() <= ObjectSink::max_small_bytes)
            return sink_->put_file(meta, std::vector<std::byte>(bytes.begin(), bytes.end()));
        const auto file = sink_->begin_large(meta, bytes.size());
        file->append(bytes);
        return file->finish();
    }

    Repository& repository_;
    std::unique_ptr<ObjectSink> sink_;
    std::vector<Layer> layers_;
};

}  // namespace imaged
