// SPDX-License-Identifier: Apache-2.0
#include "source/skopeo/signature-policy.hpp"

#include <fcntl.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <vector>

#include "base/error.hpp"
#include "base/file-descriptor.hpp"
#include "base/json.hpp"

namespace imaged {

namespace {

using nlohmann::json;

constexpr std::size_t max_policy_bytes = 1024 * 1024;

// Cuts TEXT at each SEPARATOR from the right: "a/b/c" gives "a/b", then "a".
void add_parents(std::vector<std::string>& scopes, std::string text, char separator) {
    for (auto cut = text.rfind(separator); cut != std::string::npos && cut > 0; cut = text.rfind(separator)) {
        text.resize(cut);
        scopes.push_back(text);
    }
}

constexpr std::string_view registry_prefix = "docker://";

std::vector<std::string> registry_scopes(const std::string& registry_name) {
    std::vector<std::string> scopes;
    auto name = full_registry_name(registry_name);
    scopes.push_back(name);
    if (const auto at = name.find('@'); at != std::string::npos) name.resize(at);
    if (const auto colon = name.find(':', name.rfind('/')); colon != std::string::npos) name.resize(colon);
    scopes.push_back(name);
    add_parents(scopes, name, '/');
    auto host = name.substr(0, name.find('/'));
    if (const auto port = host.find(':'); port != std::string::npos) host.resize(port);
    for (auto dot = host.find('.'); dot != std::string::npos; dot = host.find('.', dot + 1))
        scopes.push_back("*" + host.substr(dot));
    return scopes;
}

// The file or directory, without a tag and with its symbolic links resolved: no other spelling of it may lead to
// another requirement.
std::vector<std::string> path_scopes(std::string path, bool has_tag) {
    if (has_tag) path.resize(std::min(path.find(':'), path.size()));
    std::error_code failure;
    const auto real = std::filesystem::weakly_canonical(path, failure);
    if (failure) throw Error(ErrorKind::policy_rejected, "resolve " + path + ": " + failure.message());
    std::vector<std::string> scopes{real.string()};
    add_parents(scopes, real.string(), '/');
    return scopes;
}

// Scopes from the most to the least specific, as containers-policy.json(5) orders them for each transport; the empty
// one stands for the whole transport.
std::vector<std::string> scopes_of(const ImageReference& image) {
    std::vector<std::string> scopes;
    switch (image.transport()) {
        // skopeo sees the name with its digest alone, if it has one.
        case Transport::registry: scopes = registry_scopes(image.source().substr(registry_prefix.size())); break;
        case Transport::oci:
        case Transport::oci_archive: scopes = path_scopes(image.name(), true); break;
        case Transport::dir: scopes = path_scopes(image.name(), false); break;
        // The only scope of a docker-archive is all of them; the others are asked about all their scopes at once.
        case Transport::docker_archive:
        case Transport::containers_storage:
        case Transport::docker_daemon: break;
    }
    scopes.emplace_back();
    return scopes;
}

AppliedPolicy describe(const json& requirements, const std::string& where) {
    if (!requirements.is_array() || requirements.empty())
        throw Error(ErrorKind::policy_rejected, "the containers policy has no requirement for " + where);
    AppliedPolicy policy;
    policy.requirements = json_text(requirements);
    for (const auto& requirement : requirements) {
        const auto type = requirement.is_object() ? requirement.value("type", std::string("?")) : std::string("?");
        if (type != "insecureAcceptAnything") policy.accepts_anything = false;
        policy.description += (policy.description.empty() ? "" : "+") + type;
    }
    policy.description += " (" + where + ")";
    return policy;
}

}  // namespace

std::string full_registry_name(const std::string& name) {
    const auto slash = name.find('/');
    auto host = name.substr(0, slash);
    const bool has_upper = std::any_of(host.begin(), host.end(), [](char c) { return c >= 'A' && c <= 'Z'; });
    const bool has_host = slash != std::string::npos &&
                          (host.find_first_of(".:") != std::string::npos || host == "localhost" || has_upper);
    auto path = has_host ? name.substr(slash + 1) : name;
    if (!has_host || host == "index.docker.io") host = "docker.io";
    if (host == "docker.io" && path.find('/') == std::string::npos) path = "library/" + path;
    if (path.find('@') == std::string::npos && path.find(':') == std::string::npos) path += ":latest";
    return host + "/" + path;
}

AppliedPolicy applied_policy(std::string_view text, const ImageReference& image) {
    const auto document = parse_json(text);
    if (!document.is_object()) throw Error(ErrorKind::policy_rejected, "the containers policy is not a JSON object");
    const auto image_name = image.image();
    const auto transport = image_name.substr(0, image_name.find(':'));
    const auto fallback = document.find("default");
    const auto by_default = [&] { return describe(fallback == document.end() ? json() : *fallback, "default"); };
    const auto transports = document.find("transports");
    if (transports == document.end() || !transports->is_object()) return by_default();
    const auto found = transports->find(transport);
    if (found == transports->end() || !found->is_object()) return by_default();
    if (image.transport() == Transport::containers_storage || image.transport() == Transport::docker_daemon) {
        // Their scopes name what only the storage or the other daemon knows: any of them may be the one.
        for (const auto& [scope, requirements] : found->items()) {
            auto policy = describe(requirements, transport + ": " + (scope.empty() ? "any" : scope));
            if (policy.accepts_anything) return policy;
        }
    }
    for (const auto& scope : scopes_of(image)) {
        if (const auto entry = found->find(scope); entry != found->end())
            return describe(*entry, transport + ": " + (scope.empty() ? "any" : scope));
    }
    return by_default();
}

bool accepts_everything(std::string_view text) {
    const auto document = parse_json(text);
    if (!document.is_object()) return false;
    const auto lax = [](const json& requirements) { return describe(requirements, "policy").accepts_anything; };
    for (const auto& [key, value] : document.items()) {
        if (key == "default") {
            if (!lax(value)) return false;
        } else if (key == "transports" && value.is_object()) {
            for (const auto& transport : value) {
                for (const auto& requirements : transport) {
                    if (!lax(requirements)) return false;
                }
            }
        } else {
            return false;
        }
    }
    return document.contains("default");
}

std::string load_host_policy() {
    const auto path = host_policy_path();
    const auto file = try_open_file(AT_FDCWD, path);
    if (!file) throw Error(ErrorKind::policy_rejected, "there is no containers policy: " + path + " is missing");
    auto text = read_all(file.get(), max_policy_bytes, path);
    const auto document = parse_json(text);
    const auto refuse = [&](const std::string& why) {
        throw Error(ErrorKind::policy_rejected, "the containers policy " + path + " " + why);
    };
    if (!document.is_object()) refuse("is not a JSON object");
    const auto fallback = document.find("default");
    if (fallback == document.end() || !fallback->is_array() || fallback->empty())
        refuse("has no requirement for default");
    return text;
}

std::string host_policy_path() {
    if (const char* named = std::getenv("CONTAINERS_POLICY"); named != nullptr && *named != '\0') return named;
    if (const char* home = std::getenv("HOME"); home != nullptr && *home != '\0') {
        const auto own = std::string(home) + "/.config/containers/policy.json";
        std::error_code failure;
        if (std::filesystem::status(own, failure).type() != std::filesystem::file_type::not_found) return own;
    }
    return "/etc/containers/policy.json";
}

}  // namespace imaged
