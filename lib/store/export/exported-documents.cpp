// SPDX-License-Identifier: Apache-2.0
#include "store/export/exported-documents.hpp"

#include "base/json.hpp"

namespace imaged {

namespace {

using nlohmann::ordered_json;

constexpr const char* manifest_type = "application/vnd.oci.image.manifest.v1+json";
constexpr const char* config_type = "application/vnd.oci.image.config.v1+json";
constexpr const char* final_diff_id = "ostree.final-diffid";
// They describe the bytes of a blob.
constexpr std::string_view chunk_annotations = "io.github.containers.zstd-chunked.";

std::string layer_type(Compression compression) {
    std::string type = "application/vnd.oci.image.layer.v1.tar";
    switch (compression) {
        case Compression::none: return type;
        case Compression::gzip: return type + "+gzip";
        case Compression::zstd: return type + "+zstd";
    }
    return type;
}

// What stands for the diff-id OLD of a layer now.
void replace_diff_id(ordered_json& text, const StoredImage& image, const std::vector<ExportedLayer>& layers) {
    if (!text.is_string()) return;
    for (std::size_t i = 0; i < layers.size(); ++i) {
        if (text == image.layout.layers[i].diff_id.text()) {
            text = layers[i].diff_id.text();
            return;
        }
    }
}

void replace_member(ordered_json& object, const StoredImage& image, const std::vector<ExportedLayer>& layers) {
    if (object.is_object() && object.contains(final_diff_id)) replace_diff_id(object[final_diff_id], image, layers);
}

void describe(ordered_json& descriptor, const std::string& type, const Descriptor& blob) {
    descriptor["mediaType"] = type;
    descriptor["digest"] = blob.digest.text();
    descriptor["size"] = blob.size;
    descriptor.erase("urls");
    auto kept = ordered_json::object();
    const bool has_annotations = descriptor.contains("annotations") && descriptor["annotations"].is_object();
    if (has_annotations) {
        for (auto& [name, value] : descriptor["annotations"].items()) {
            if (!std::string_view(name).starts_with(chunk_annotations)) kept[name] = value;
        }
    }
    for (const auto& [name, value] : blob.chunked) kept[std::string(chunk_annotations) + name] = value;
    if (has_annotations || !kept.empty()) descriptor["annotations"] = std::move(kept);
}

}  // namespace

std::string exported_config(const StoredImage& image, const std::vector<ExportedLayer>& layers) {
    bool same = true;
    auto diff_ids = ordered_json::array();
    for (std::size_t i = 0; i < layers.size(); ++i) {
        same = same && layers[i].diff_id == image.layout.layers[i].diff_id;
        diff_ids.push_back(layers[i].diff_id.text());
    }
    if (same) return image.config_text;
    auto config = parse_ordered_json(image.config_text);
    config["rootfs"]["diff_ids"] = std::move(diff_ids);
    if (config.contains("config") && config["config"].is_object() && config["config"].contains("Labels"))
        replace_member(config["config"]["Labels"], image, layers);
    return config.dump();
}

std::string exported_manifest(const StoredImage& image, const Descriptor& config,
                              const std::vector<ExportedLayer>& layers, Compression compression) {
    bool same = config.digest == image.manifest.config.digest;
    for (std::size_t i = 0; i < layers.size(); ++i)
        same = same && layers[i].blob.digest == image.layout.layers[i].blob.digest &&
               (layers[i].blob.chunked.empty() || layers[i].blob.chunked == image.layout.layers[i].blob.chunked);
    if (same) return image.manifest_text;
    auto manifest = parse_ordered_json(image.manifest_text);
    manifest["mediaType"] = manifest_type;
    describe(manifest["config"], config_type, config);
    for (std::size_t i = 0; i < layers.size(); ++i)
        describe(manifest["layers"][i], layer_type(compression), layers[i].blob);
    if (manifest.contains("annotations")) replace_member(manifest["annotations"], image, layers);
    return manifest.dump();
}

}  // namespace imaged
