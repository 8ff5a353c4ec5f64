// SPDX-License-Identifier: Apache-2.0
// Puts images into a repository as an import would, without a source: layers out of paths and contents, a merge commit
// over them, and the refs.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/cancellation.hpp"
#include "base/json.hpp"
#include "layer/dirtree.hpp"
#include "layer/layer-tree.hpp"
#include "store/fetch/import-plan.hpp"
#include "store/files/ref-name.hpp"
#include "store/files/verified-layers.hpp"
#include "store/records/layer-record.hpp"
#include "store/repository/work-observer.hpp"
#include "store/tree/merge-commit.hpp"
#include "temporary-repository.hpp"

namespace imaged {

// Who is told how a work goes on, and does not care.
struct Nobody : WorkObserver {
    void begin(std::string_view, double, double, std::string_view) override {}
    void advance(std::uint64_t, std::uint64_t) override {}
};

class ImageBuilder {
public:
    explicit ImageBuilder(TemporaryRepository& home) : home_(home) {}

    struct Layer {
        Digest digest, diff_id;
        Checksum commit;
        std::string ref() const { return layer_ref(digest); }
    };
    using Files = std::vector<std::pair<std::string, std::string>>;  // path and content

    Checksum file(const std::string& content) {
        const auto sink = home_.repository.make_sink(home_.staging, home_.pool);
        const auto checksum = put(*sink, content);
        sink->publish();
        return checksum;
    }

    // A derived layer with its ref. NAME stands for its blob.
    Layer layer(const std::string& name, const Files& files) {
        const auto sink = home_.repository.make_sink(home_.staging, home_.pool);
        LayerTree tree;
        for (const auto& [path, content] : files) tree.put_file(split_path(path), put(*sink, content));
        const auto rules = derived_layer_rules(&home_.repository, std::nullopt);
        DerivedLayer derived;
        derived.root = tree.write(rules.mapping, *sink);
        Layer layer{Digest(sha256(name)), Digest(sha256(name + ".tar")), {}};
        CommitContent content;
        content.metadata = layer_metadata(derived, rules, layer.diff_id);
        content.tree = derived.root.tree;
        content.meta = derived.root.meta;
        layer.commit = sink->put_metadata(ObjectType::commit, serialise_commit(content));
        sink->publish();
        home_.repository.set_ref(layer.ref(), layer.commit);
        VerifiedLayers(home_.repository.fd())
            .add_layer({LayerKind::derived, {"", layer.digest, 0}, layer.diff_id}, layer.commit,
                       rules.mapping.move_var);
        return layer;
    }

    SourceImage source(const std::vector<Layer>& layers) const {
        nlohmann::json config{{"architecture", "amd64"},
                              {"os", "linux"},
                              {"config", nlohmann::json::object()},
                              {"created", "2024-01-02T03:04:05Z"},
                              {"rootfs", {{"type", "layers"}, {"diff_ids", nlohmann::json::array()}}}};
        nlohmann::json manifest{{"schemaVersion", 2},
                                {"mediaType", "application/vnd.oci.image.manifest.v1+json"},
                                {"layers", nlohmann::json::array()}};
        for (const auto& layer : layers) {
            config["rootfs"]["diff_ids"].push_back(layer.diff_id.text());
            manifest["layers"].push_back({{"mediaType", "application/vnd.oci.image.layer.v1.tar"},
                                          {"digest", layer.digest.text()},
                                          {"size", 1024}});
        }
        const auto config_text = config.dump();
        manifest["config"] = {{"mediaType", "application/vnd.oci.image.config.v1+json"},
                              {"digest", "sha256:" + sha256(config_text).hex()},
                              {"size", config_text.size()}};
        const auto manifest_text = manifest.dump();
        auto parsed = Manifest::parse(manifest_text);
        auto parsed_config = ImageConfig::parse(config_text);
        auto layout = ImageLayout::of(parsed, parsed_config);
        return {Digest(sha256(manifest_text)), manifest_text,     config_text, std::move(parsed),
                std::move(parsed_config),      std::move(layout), "test"};
    }

    // The merge commit of LAYERS without a ref.
    Checksum merge(const std::vector<Layer>& layers) {
        std::vector<Checksum> commits;
        for (const auto& layer : layers) commits.push_back(layer.commit);
        const auto image = source(layers);
        const auto rules = derived_layer_rules(&home_.repository, std::nullopt);
        const auto merged = write_merge_commit(home_.repository, home_.staging, home_.pool,
                                               {image, commits, std::nullopt, rules}, Cancellation(), [] {});
        merged.sink->publish();
        return merged.commit;
    }

    Checksum image(const std::string& reference, const std::vector<Layer>& layers) {
        const auto commit = merge(layers);
        home_.repository.set_ref(image_ref(ImageReference::parse(reference)), commit);
        return commit;
    }

    // A commit as other tools make them: one file, a subject's worth of metadata.
    Checksum foreign_commit(const std::string& content, const std::optional<Checksum>& parent = {}) {
        const auto sink = home_.repository.make_sink(home_.staging, home_.pool);
        CommitContent commit;
        commit.parent = parent;
        commit.timestamp = 1700000000;
        commit.tree = sink->put_metadata(ObjectType::dirtree, serialise_dirtree({{{"file", put(*sink, content)}}, {}}));
        commit.meta = sink->put_metadata(ObjectType::dirmeta, serialise_dirmeta({0, 0, 040755, nullptr}));
        const auto checksum = sink->put_metadata(ObjectType::commit, serialise_commit(commit));
        sink->publish();
        return checksum;
    }

    static std::string object_path(const Checksum& checksum, const std::string& type) {
        return "objects/" + checksum.hex().substr(0, 2) + "/" + checksum.hex().substr(2) + "." + type;
    }
    std::string path_of(const Checksum& checksum, const std::string& type) const {
        return home_.path + "/" + object_path(checksum, type);
    }
    bool has(const Checksum& checksum, const std::string& type) const {
        return std::filesystem::exists(std::filesystem::symlink_status(path_of(checksum, type)));
    }

private:
    static Checksum put(ObjectSink& sink, const std::string& content) {
        const auto* bytes = reinterpret_cast<const std::byte*>(content.data());
        // Of whoever runs the tests, who may not give files away.
        return sink.put_file({::geteuid(), ::getegid(), 0100644, nullptr}, {bytes, bytes + content.size()});
    }

    TemporaryRepository& home_;
};

}  // namespace imaged
