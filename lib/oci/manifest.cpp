// SPDX-License-Identifier: Apache-2.0
#include "oci/manifest.hpp"

#include <algorithm>
#include <array>

#include "base/error.hpp"
#include "base/json.hpp"
#include "oci/json-document.hpp"

namespace imaged {

namespace {

using nlohmann::json;

constexpr std::string_view oci_manifest = "application/vnd.oci.image.manifest.v1+json";
// Of OCI 1.1's release candidates; it has neither schemaVersion nor config.
constexpr std::string_view oci_artifact = "application/vnd.oci.artifact.manifest.v1+json";
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

// TYPE without parameters such as "; charset=utf-8".
std::string_view essence(std::string_view type) {
    type = type.substr(0, type.find(';'));
    while (type.ends_with(' ')) type.remove_suffix(1);
    return type;
}

// Registries and tools have given images these types as well; docker pull takes the same ones.
bool is_config_type(std::string_view type) {
    constexpr std::array<std::string_view, 6> types{oci_config,         docker_config, "application/octet-stream",
                                                    "application/json", "text/html",   ""};
    return std::find(types.begin(), types.end(), essence(type)) != types.end();
}

// Throws Error(unsupported_image) unless TYPE is one of a tar.
void check_layer_type(const std::string& type) {
    struct Form {
        std::string_view mark, name, advice;
    };
    constexpr std::array<Form, 3> forms{{
        {"encrypted", "is encrypted", "pull it decrypted, for instance with skopeo copy --decryption-key"},
        {"squashfs", "is a squashfs file system", "build the image with tar layers"},
        {"erofs", "is an erofs file system", "build the image with tar layers"},
    }};
    for (const auto& form : forms) {
        if (type.find(form.mark) != std::string::npos)
            unsupported("it " + std::string(form.name) + " (media type \"" + type + "\"), which imaged cannot read; " +
                        std::string(form.advice));
    }
    const auto plain = essence(type);
    if (!plain.starts_with("application/vnd.oci.image.layer.") &&
        !plain.starts_with("application/vnd.docker.image.rootfs.") && plain != "application/octet-stream" &&
        !plain.empty())
        unsupported("media type \"" + type + "\" is not a layer's");
}

std::string named(const std::string& what, const std::optional<std::string>& type) {
    return type && !type->empty() ? what + " \"" + *type + "\"" : "";
}

bool lists_manifests(const json& document) {
    return document.contains("manifests") && !document.contains("layers");
}

[[noreturn]] void refuse_schema(const json& document) {
    const auto version = document.find("schemaVersion");
    if (version != document.end() && *version == 1)
        unsupported("a Docker schema 1 manifest, which is obsolete; push the image again with a current tool");
    unsupported("schemaVersion is not 2: " + (version == document.end() ? "missing" : version->dump().substr(0, 40)));
}

// The member KEY, whose null is an empty array: Go programs write an empty list so.
json array_or_null(const json& document, const char* key) {
    if (const auto* found = optional_array(document, key)) return *found;
    if (!document.contains(key)) throw Error(ErrorKind::corrupt_input, std::string("\"") + key + "\" is missing");
    return json::array();
}

// Those that are no text say nothing.
std::map<std::string, std::string> chunked_annotations(const json& layer) {
    constexpr std::string_view prefix = "io.github.containers.zstd-chunked.";
    std::map<std::string, std::string> found;
    const auto annotations = layer.find("annotations");
    if (annotations == layer.end() || !annotations->is_object()) return found;
    for (const auto& [key, value] : annotations->items()) {
        if (key.starts_with(prefix) && value.is_string())
            found.emplace(key.substr(prefix.size()), value.get<std::string>());
    }
    return found;
}

Manifest parse_manifest(const json& document) {
    refuse_artifact(document);
    const auto version = document.find("schemaVersion");
    if (version == document.end() || *version != 2) refuse_schema(document);
    const auto type = optional_text(document, "mediaType").value_or(std::string(oci_manifest));
    if (lists_manifests(document))
        unsupported("an index, and not the manifest of one image; name the image by its digest");
    if (type != oci_manifest && type != docker_manifest) unsupported("manifest has the media type \"" + type + "\"");
    const auto* config = optional_object(document, "config");
    if (config == nullptr) throw Error(ErrorKind::corrupt_input, "\"config\" is missing");
    const auto layers = array_or_null(document, "layers");

    Manifest manifest{type == docker_manifest, in_context("config", [&] { return parse_descriptor(*config); }), {}, {}};
    if (const auto& config_type = manifest.config.media_type; !is_config_type(config_type))
        unsupported("not a container image but an artifact: its config has the media type \"" + config_type + "\"" +
                    named(", and it has the type", optional_text(document, "artifactType")));
    if (layers.size() > max_layers)
        unsupported(std::to_string(layers.size()) + " layers are more than the limit of " + std::to_string(max_layers));
    for (std::size_t i = 0; i < layers.size(); ++i) {
        manifest.layers.push_back(in_context("layer " + std::to_string(i), [&] {
            auto layer = parse_descriptor(layers[i]);
            check_layer_type(layer.media_type);
            layer.chunked = chunked_annotations(layers[i]);
            return layer;
        }));
    }
    manifest.annotations = optional_text_map(document, "annotations");
    return manifest;
}

}  // namespace

void refuse_artifact(const json& object) {
    if (optional_text(object, "mediaType") == oci_artifact)
        unsupported("not a container image but an artifact (media type \"" + std::string(oci_artifact) + "\")" +
                    named(" of the type", optional_text(object, "artifactType")));
}

Manifest Manifest::parse(std::string_view text) {
    const auto document = parse_document(text, max_manifest_bytes, "manifest");
    return in_context("manifest", [&] { return parse_manifest(document); });
}

bool Manifest::is_index(std::string_view text) {
    return lists_manifests(parse_document(text, max_manifest_bytes, "manifest"));
}

}  // namespace imaged
