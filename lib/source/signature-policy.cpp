// SPDX-License-Identifier: Apache-2.0
#include "source/signature-policy.hpp"

#include <fcntl.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/error.hpp"
#include "base/file-descriptor.hpp"

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

// The registry name as the policy spells it: Docker Hub's short names in full, with the tag or digest.
std::string full_registry_name(std::string name) {
    const auto slash = name.find('/');
    const auto host = name.substr(0, slash);
    const bool has_host =
        slash != std::string::npos && (host.find_first_of(".:") != std::string::npos || host == "localhost");
    if (!has_host) name = "docker.io/" + (slash == std::string::npos ? "library/" + name : name);
    const auto last = name.rfind('/');
    if (name.find('@') == std::string::npos && name.find(':', last) == std::string::npos) name += ":latest";
    return name;
}

// Scopes from the most to the least specific, as containers-policy.json(5) orders them for each transport.
std::vector<std::string> scopes_of(const ImageReference& image) {
    std::vector<std::string> scopes;
    switch (image.transport()) {
        case Transport::registry: {
            auto name = full_registry_name(image.name());
            scopes.push_back(name);
            if (const auto at = name.find('@'); at != std::string::npos) name.resize(at);
            if (const auto colon = name.find(':', name.rfind('/')); colon != std::string::npos) name.resize(colon);
            scopes.push_back(name);
            add_parents(scopes, name, '/');
            auto host = name.substr(0, name.find('/'));
            if (const auto port = host.find(':'); port != std::string::npos) host.resize(port);
            for (auto dot = host.find('.'); dot != std::string::npos; dot = host.find('.', dot + 1))
                scopes.push_back("*" + host.substr(dot));
            break;
        }
        case Transport::oci:
        case Transport::oci_archive:
        case Transport::docker_archive:
        case Transport::dir: {
            auto path = image.name();
            if (image.transport() != Transport::dir) {
                if (image.transport() == Transport::oci) scopes.push_back(path);
                if (const auto colon = path.find(':'); colon != std::string::npos) path.resize(colon);
            }
            scopes.push_back(path);
            add_parents(scopes, path, '/');
            break;
        }
        case Transport::containers_storage:
        case Transport::docker_daemon: scopes.push_back(image.name()); break;
    }
    scopes.emplace_back();
    return scopes;
}

AppliedPolicy describe(const json& requirements, const std::string& where) {
    if (!requirements.is_array() || requirements.empty())
        throw Error(ErrorKind::policy_rejected, "the containers policy has no requirement for " + where);
    AppliedPolicy policy;
    for (const auto& requirement : requirements) {
        const auto type = requirement.is_object() ? requirement.value("type", std::string("?")) : std::string("?");
        if (type != "insecureAcceptAnything") policy.accepts_anything = false;
        policy.description += (policy.description.empty() ? "" : "+") + type;
    }
    policy.description += " (" + where + ")";
    return policy;
}

}  // namespace

AppliedPolicy applied_policy(std::string_view text, const ImageReference& image) {
    const auto document = json::parse(text, nullptr, false);
    if (!document.is_object()) throw Error(ErrorKind::policy_rejected, "the containers policy is not a JSON object");
    const auto image_name = image.image();
    const auto transport = image_name.substr(0, image_name.find(':'));
    if (const auto transports = document.find("transports"); transports != document.end() && transports->is_object()) {
        if (const auto found = transports->find(transport); found != transports->end() && found->is_object()) {
            for (const auto& scope : scopes_of(image)) {
                if (const auto entry = found->find(scope); entry != found->end())
                    return describe(*entry, transport + ": " + (scope.empty() ? "any" : scope));
            }
        }
    }
    const auto fallback = document.find("default");
    return describe(fallback == document.end() ? json() : *fallback, "default");
}

std::string load_host_policy() {
    std::vector<std::string> paths;
    if (const char* home = std::getenv("HOME"); home != nullptr && *home != '\0')
        paths.push_back(std::string(home) + "/.config/containers/policy.json");
    paths.emplace_back("/etc/containers/policy.json");
    for (const auto& path : paths) {
        if (const auto fd = try_open_at(AT_FDCWD, path, O_RDONLY)) return read_all(fd.get(), max_policy_bytes, path);
    }
    throw Error(ErrorKind::policy_rejected, "there is no containers policy: /etc/containers/policy.json is missing");
}

}  // namespace imaged
