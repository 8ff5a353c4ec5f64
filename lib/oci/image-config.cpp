// SPDX-License-Identifier: Apache-2.0
#include "oci/image-config.hpp"

#include "base/error.hpp"
#include "base/json.hpp"
#include "oci/json-document.hpp"
#include "oci/manifest.hpp"

namespace imaged {

namespace {

using nlohmann::json;

ImageConfig parse_config(const json& document) {
    ImageConfig config;
    const auto* rootfs = optional_object(document, "rootfs");
    if (rootfs == nullptr) throw Error(ErrorKind::corrupt_input, "\"rootfs\" is missing");
    if (const auto type = optional_text(*rootfs, "type"); type && *type != "layers")
        throw Error(ErrorKind::unsupported_image, "rootfs has the type \"" + *type + "\"");
    // Absent or null in an image without layers.
    const auto* diff_ids = optional_array(*rootfs, "diff_ids");
    if (diff_ids != nullptr && diff_ids->size() > max_layers)
        throw Error(ErrorKind::unsupported_image, "more than " + std::to_string(max_layers) + " diff_ids");
    for (const auto& diff_id : diff_ids == nullptr ? json::array() : *diff_ids) {
        if (!diff_id.is_string()) throw Error(ErrorKind::corrupt_input, "a diff_id is not a string");
        config.diff_ids.push_back(
            in_context("diff_ids", [&] { return Digest::parse(diff_id.get_ref<const std::string&>()); }));
    }
    if (const auto* runtime = optional_object(document, "config"))
        config.labels = optional_text_map(*runtime, "Labels");
    config.created = optional_text(document, "created");
    const auto named = [&](const char* key) {
        auto text = optional_text(document, key);
        return text && !text->empty() ? text : std::nullopt;
    };
    config.architecture = named("architecture");
    config.os = named("os");
    if (const auto* history = optional_array(document, "history")) {
        for (const auto& entry : *history) {
            if (entry.is_null()) {
                config.created_by.emplace_back();
                continue;
            }
            if (!entry.is_object()) throw Error(ErrorKind::corrupt_input, "a history entry is not an object");
            if (const auto empty = entry.find("empty_layer");
                empty != entry.end() && empty->is_boolean() && empty->get<bool>())
                continue;
            config.created_by.push_back(optional_text(entry, "created_by"));
        }
    }
    // A history that does not match the layers describes none of them.
    if (config.created_by.size() != config.diff_ids.size())
        config.created_by.assign(config.diff_ids.size(), std::nullopt);
    return config;
}

}  // namespace

ImageConfig ImageConfig::parse(std::string_view text) {
    const auto document = parse_document(text, max_config_bytes, "config");
    return in_context("config", [&] { return parse_config(document); });
}

bool ImageConfig::bootable() const {
    const auto says = [&](const char* label) {
        const auto found = labels.find(label);
        return found != labels.end() && !found->second.empty() && found->second != "false" && found->second != "0";
    };
    return says("containers.bootc") || says("ostree.bootable") || says("ostree.linux");
}

std::optional<std::string> ImageConfig::version() const {
    for (const char* label : {"org.opencontainers.image.version", "version"}) {
        if (const auto found = labels.find(label); found != labels.end() && !found->second.empty())
            return found->second;
    }
    return std::nullopt;
}

}  // namespace imaged
