// SPDX-License-Identifier: Apache-2.0
#include "job/settings.hpp"

#include <string>

#include "base/error.hpp"

namespace imaged::job {

namespace {

[[noreturn]] void refuse_settings(const std::string& key) {
    throw Error(ErrorKind::failed, "job protocol: setting \"" + key + "\" is unknown or has no such value");
}

std::uint64_t count(const std::string& key, const nlohmann::json& value) {
    if (!value.is_number_unsigned()) refuse_settings(key);
    return value.get<std::uint64_t>();
}

SignaturePolicy policy(const std::string& key, const nlohmann::json& value) {
    for (const auto candidate : signature_policies) {
        if (value == to_string(candidate)) return candidate;
    }
    refuse_settings(key);
}

}  // namespace

std::string_view to_string(SignaturePolicy policy) {
    switch (policy) {
        case SignaturePolicy::containers_policy: return "containers-policy";
        case SignaturePolicy::signature: return "signature";
        case SignaturePolicy::signature_by_default: return "signature-by-default";
    }
    return "";
}

nlohmann::json to_json(const Settings& settings) {
    return {{"signature-policy", to_string(settings.signature_policy)},
            {"layers-at-once", settings.layers_at_once},
            {"stall-milliseconds", static_cast<std::uint64_t>(settings.stall_time.count())},
            {"retries", settings.retries},
            {"disk-reserve", settings.disk_reserve},
            {"layer-bytes", settings.layer_bytes},
            {"image-bytes", settings.image_bytes},
            {"expansion-ratio", settings.expansion_ratio},
            {"confined", settings.confined},
            {"host-credentials", settings.host_credentials},
            {"local-sources", settings.local_sources},
            {"skopeo-service", settings.skopeo_service}};
}

Settings settings_from_json(const nlohmann::json& document) {
    Settings settings;
    for (const auto& [key, value] : document.items()) {
        if (key == "signature-policy") {
            settings.signature_policy = policy(key, value);
        } else if (key == "layers-at-once") {
            settings.layers_at_once = static_cast<unsigned>(count(key, value));
        } else if (key == "stall-milliseconds") {
            settings.stall_time = std::chrono::milliseconds(count(key, value));
        } else if (key == "retries") {
            settings.retries = static_cast<unsigned>(count(key, value));
        } else if (key == "disk-reserve") {
            settings.disk_reserve = count(key, value);
        } else if (key == "layer-bytes") {
            settings.layer_bytes = count(key, value);
        } else if (key == "image-bytes") {
            settings.image_bytes = count(key, value);
        } else if (key == "expansion-ratio") {
            settings.expansion_ratio = count(key, value);
        } else if (key == "confined" && value.is_boolean()) {
            settings.confined = value.get<bool>();
        } else if (key == "host-credentials" && value.is_boolean()) {
            settings.host_credentials = value.get<bool>();
        } else if (key == "local-sources" && value.is_boolean()) {
            settings.local_sources = value.get<bool>();
        } else if (key == "skopeo-service" && value.is_string()) {
            settings.skopeo_service = value.get<std::string>();
        } else {
            refuse_settings(key);
        }
    }
    return settings;
}

}  // namespace imaged::job
