// SPDX-License-Identifier: Apache-2.0
#include "store/export/delta-documents.hpp"

#include "base/checksum.hpp"
#include "base/error.hpp"
#include "base/json.hpp"
#include "oci/delta-artifact.hpp"

namespace imaged {

namespace {

using nlohmann::ordered_json;

constexpr const char* oci_empty_type = "application/vnd.oci.empty.v1+json";

ordered_json described_blob(const Descriptor& descriptor) {
    return {{"mediaType", descriptor.media_type}, {"digest", descriptor.digest.text()}, {"size", descriptor.size}};
}

ordered_json with_content(const Descriptor& blob, std::string_view content) {
    auto entry = described_blob(blob);
    entry["annotations"] = {{std::string(delta::content_annotation), content}};
    return entry;
}

}  // namespace

bool is_of_digest(const ordered_json& entry, const Digest& digest) {
    return entry.is_object() && entry.contains("digest") && entry["digest"] == digest.text();
}

std::string delta_manifest(const Descriptor& subject, const Descriptor& config, const Digest& source_config,
                           const std::vector<DeltaBlob>& layers) {
    auto blobs = ordered_json::array(
        {with_content(subject, delta::manifest_content), with_content(config, delta::config_content)});
    for (const auto& layer : layers) {
        auto entry = with_content(layer.blob, delta::layer_content);
        entry["annotations"][std::string(delta::target_layer_annotation)] = layer.target.text();
        blobs.push_back(std::move(entry));
    }
    ordered_json empty{{"mediaType", oci_empty_type},
                       {"digest", Digest(sha256(empty_config)).text()},
                       {"size", empty_config.size()},
                       {"data", "e30="}};
    ordered_json manifest{{"schemaVersion", 2}, {"mediaType", oci_manifest_type}};
    manifest["artifactType"] = delta::artifact_type;
    manifest["config"] = std::move(empty);
    manifest["layers"] = std::move(blobs);
    manifest["subject"] = described_blob(subject);
    manifest["annotations"] = {{std::string(delta::source_config_annotation), source_config.text()}};
    return manifest.dump();
}

std::string referrers_index(const std::optional<std::string>& existing, const Descriptor& artifact,
                            const Digest& source_config) {
    ordered_json index{{"schemaVersion", 2}, {"mediaType", oci_index_type}, {"manifests", ordered_json::array()}};
    if (existing) {
        index = parse_ordered_json(*existing);
        if (!index.is_object() || !index.contains("manifests") || !index["manifests"].is_array())
            throw Error(ErrorKind::corrupt_input,
                        "the list of artifacts of the image is not an OCI index; remove or replace its tag (sha256-…)");
    }
    auto manifests = ordered_json::array();
    for (auto& entry : index["manifests"]) {
        if (!is_of_digest(entry, artifact.digest)) manifests.push_back(std::move(entry));
    }
    auto entry = described_blob(artifact);
    entry["annotations"] = {{std::string(delta::source_config_annotation), source_config.text()}};
    entry["artifactType"] = delta::artifact_type;
    manifests.push_back(std::move(entry));
    index["manifests"] = std::move(manifests);
    return index.dump();
}

std::optional<std::string> without_artifact_types(std::string_view text, const Digest& own) {
    auto index = parse_ordered_json(text);
    for (auto& entry : index["manifests"]) {
        if (!entry.contains("artifactType")) continue;
        if (!is_of_digest(entry, own) && entry["artifactType"] != delta::artifact_type) return std::nullopt;
        entry.erase("artifactType");
    }
    return index.dump();
}

}  // namespace imaged
