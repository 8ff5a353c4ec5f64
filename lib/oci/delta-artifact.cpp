// SPDX-License-Identifier: Apache-2.0
#include "oci/delta-artifact.hpp"

#include <algorithm>

#include "base/checksum.hpp"
#include "base/error.hpp"
#include "base/json.hpp"
#include "oci/json-document.hpp"

namespace imaged {

namespace {

using nlohmann::json;
using Annotations = std::map<std::string, std::string>;

[[noreturn]] void refuse_delta(const std::string& why) {
    throw Error(ErrorKind::corrupt_input, "delta: " + why);
}

std::optional<std::string> annotation(const Annotations& annotations, std::string_view key) {
    const auto found = annotations.find(std::string(key));
    return found == annotations.end() ? std::nullopt : std::optional(found->second);
}

Descriptor blob_of(const json& entry) {
    return Descriptor{optional_text(entry, "mediaType").value_or(""), Digest::parse(required_text(entry, "digest")),
                      required_count(entry, "size")};
}

// TYPE of a manifest or of an index's entry: the artifact's, or before OCI 1.1 that of its config.
bool is_delta(const json& document) {
    if (const auto type = optional_text(document, "artifactType"); type && !type->empty())
        return *type == delta::artifact_type;
    const auto* const config = optional_object(document, "config");
    return config != nullptr && optional_text(*config, "mediaType") == delta::artifact_type;
}

bool is_layer_type(std::string_view type) {
    return type.starts_with("application/vnd.oci.image.layer.") ||
           type.starts_with("application/vnd.docker.image.rootfs.");
}

void take_once(std::optional<Descriptor>& place, const json& entry, std::string_view what) {
    if (place) refuse_delta("it has more than one " + std::string(what));
    place = blob_of(entry);
}

}  // namespace

std::string delta::referrers_tag(const Digest& digest) {
    return "sha256-" + digest.hex();
}

bool DeltaArtifact::is_one(std::string_view text) {
    try {
        return is_delta(parse_document(text, max_manifest_bytes, "manifest"));
    } catch (const Error&) {
        return false;
    }
}

DeltaArtifact DeltaArtifact::parse(std::string_view text) {
    const auto document = parse_document(text, max_manifest_bytes, "manifest of a delta");
    if (!is_delta(document)) refuse_delta("the manifest is not one of a delta");
    const auto source = annotation(optional_text_map(document, "annotations"), delta::source_config_annotation);
    if (!source) refuse_delta("it does not say which image it needs");
    const auto* const entries = optional_array(document, "layers");
    if (entries == nullptr) refuse_delta("it has no layers");
    if (entries->size() > max_layers + 2) refuse_delta("it has more layers than the limit");
    std::optional<Descriptor> manifest, config;
    std::map<Digest, DeltaLayer> made;
    for (const auto& entry : *entries) {
        if (!entry.is_object()) refuse_delta("a layer is not an object");
        const auto annotations = optional_text_map(entry, "annotations");
        const auto content = annotation(annotations, delta::content_annotation);
        if (content == delta::manifest_content) take_once(manifest, entry, delta::manifest_content);
        if (content == delta::config_content) take_once(config, entry, delta::config_content);
        if (content != delta::layer_content) continue;
        const auto target = annotation(annotations, delta::target_layer_annotation);
        if (!target) refuse_delta("a layer does not say what it makes");
        DeltaLayer layer{blob_of(entry)};
        layer.tar_diff = layer.blob.media_type == delta::tar_diff_type;
        if (!layer.tar_diff && !is_layer_type(layer.blob.media_type))
            throw Error(ErrorKind::unsupported_image, "delta: the media type \"" + layer.blob.media_type +
                                                          "\" is neither a tar-diff's nor a layer's");
        if (!made.emplace(Digest::parse(*target), std::move(layer)).second)
            refuse_delta("two of its layers make the layer " + *target);
    }
    if (!manifest || !config) refuse_delta("the image's manifest or config is missing");
    return {Digest(sha256(text)), Digest::parse(*source), *std::move(manifest), *std::move(config), std::move(made)};
}

void DeltaArtifact::require_target(const Manifest& target) const {
    if (target.config.digest != config.digest) refuse_delta("its config is not the image's");
    for (const auto& [digest, layer] : made) {
        const auto is_it = [&wanted = digest](const Descriptor& other) { return other.digest == wanted; };
        if (std::none_of(target.layers.begin(), target.layers.end(), is_it))
            refuse_delta("it makes the layer " + digest.text() + ", which is not one of the image");
    }
}

DeltaListing listed_deltas(std::string_view text) {
    DeltaListing listing;
    const auto document = parse_document(text, max_manifest_bytes, "index");
    const auto* const entries = optional_array(document, "manifests");
    if (entries == nullptr) throw Error(ErrorKind::corrupt_input, "the document is not an index");
    for (const auto& entry : *entries) {
        try {
            if (!entry.is_object()) throw Error(ErrorKind::corrupt_input, "an entry of the index is not an object");
            const auto source = annotation(optional_text_map(entry, "annotations"), delta::source_config_annotation);
            // Programs before OCI 1.1, skopeo 1.9 for one, leave the type out when they copy an index.
            if (!is_delta(entry) && (!source || optional_text(entry, "artifactType"))) continue;
            listing.deltas.push_back({blob_of(entry), source ? std::optional(Digest::parse(*source)) : std::nullopt});
        } catch (const Error& error) {
            // Others may do.
            if (!listing.problem) listing.problem = error.what();
        }
    }
    return listing;
}

}  // namespace imaged
