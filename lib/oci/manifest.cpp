// SPDX-License-Identifier: Apache-2.0
#include "oci/manifest.hpp"

#include "base/error.hpp"
#include "oci/json-document.hpp"

namespace imaged {

namespace {

using nlohmann::json;

constexpr std::string_view oci_manifest = "application/vnd.oci.image.manifest.v1+json";
constexpr std::string_view docker_manifest = "application/vnd.docker.distribution.manifest.v2+json";
constexpr std::string_view oci_config = "application/vnd.oci.image.config.v1+json";
constexpr std::string_view docker_config = "application/vnd.docker.container.image.v1+json";

[[noreturn]] void unsupported(const std::string& what) {
    throw Error(ErrorKind::unsupported_image, what);
}

Descriptor parse_descriptor(const json& object) {
    if (!object.is_object()) throw Error(ErrorKind::corrupt_input, "descriptor is not an object");
    return Descriptor{optional_text(object, "mediaType").value_or(""), Digest::parse(required_text(object, "digest")),
                      required_count(object, "size")};
}

bool is_layer_type(std::string_view type) {
    return type.starts_with("application/vnd.oci.image.layer.") ||
           type.starts_with("application/vnd.docker.image.rootfs.") || type.empty();
}

Manifest parse_manifest(const json& document) {
    const auto version = document.find("schemaVersion");
    if (version == document.end() || *version != 2)
        unsupported("schemaVersion is not 2: " +
                    (version == document.end() ? "missing" : version->dump().substr(0, 40)));
    const auto type = optional_text(document, "mediaType").value_or(std::string(oci_manifest));
    if (type != oci_manifest && type != docker_manifest) unsupported("manifest has the media type \"" + type + "\"");
    const auto* config = optional_object(document, "config");
    const auto* layers = optional_array(document, "layers");
    if (config == nullptr) throw Error(ErrorKind::corrupt_input, "\"config\" is missing");
    if (layers == nullptr) throw Error(ErrorKind::corrupt_input, "\"layers\" is missing");

    Manifest manifest{type == docker_manifest, in_context("config", [&] { return parse_descriptor(*config); }), {}, {}};
    if (const auto& config_type = manifest.config.media_type;
        !config_type.empty() && config_type != oci_config && config_type != docker_config)
        unsupported("not a container image but an artifact: its config has the media type \"" + config_type + "\"");
    if (layers->size() > max_layers)
        unsupported(std::to_string(layers->size()) + " layers are more than the limit of " +
                    std::to_string(max_layers));
    if (layers->empty()) unsupported("the image has no layers");
    for (std::size_t i = 0; i < layers->size(); ++i) {
        manifest.layers.push_back(in_context("layer " + std::to_string(i), [&] {
            auto layer = parse_descriptor((*layers)[i]);
            if (!is_layer_type(layer.media_type))
                unsupported("media type \"" + layer.media_type + "\" is not a layer's");
            return layer;
        }));
    }
    manifest.annotations = optional_text_map(document, "annotations");
    return manifest;
}

}  // namespace

Manifest Manifest::parse(std::string_view text) {
    const auto document = parse_document(text, max_manifest_bytes, "manifest");
    return in_context("manifest", [&] { return parse_manifest(document); });
}

bool Manifest::is_index(std::string_view text) {
    const auto document = parse_document(text, max_manifest_bytes, "manifest");
    return document.contains("manifests") && !document.contains("layers");
}

}  // namespace imaged
