// SPDX-License-Identifier: Apache-2.0
#include "registry/auth-document.hpp"

#include <algorithm>

#include "base/base64.hpp"
#include "base/json.hpp"
#include "registry/not-understood.hpp"

namespace imaged {

namespace {

using nlohmann::json;

constexpr const char* docker_hub = "docker.io";

// The host that KEY stands for: older files have URLs there.
std::string host_of(std::string_view key) {
    for (const std::string_view scheme : {"https://", "http://"}) {
        if (key.starts_with(scheme)) key.remove_prefix(scheme.size());
    }
    std::string host(key.substr(0, key.find('/')));
    if (host == "index.docker.io" || host == "registry-1.docker.io") return docker_hub;
    return host;
}

std::string text(const json& object, const char* key) {
    const auto found = object.find(key);
    if (found == object.end() || found->is_null()) return {};
    if (!found->is_string()) throw NotUnderstood("credentials: \"" + std::string(key) + "\" is no text");
    return found->get<std::string>();
}

bool is_empty(const json& value) {
    return value.is_null() || value.empty();
}

}  // namespace

AuthDocument::AuthDocument(std::string_view document_text) {
    const auto document = parse_json(document_text);
    if (!document.is_object()) throw NotUnderstood("credentials: not a JSON object");
    for (const auto& [key, value] : document.items()) {
        if (key == "auths" || is_empty(value)) continue;
        throw NotUnderstood("credentials: more than logins");
    }
    const auto auths = document.find("auths");
    if (auths == document.end() || auths->is_null()) return;
    if (!auths->is_object()) throw NotUnderstood("credentials: \"auths\" is no object");
    for (const auto& [key, value] : auths->items()) {
        if (!value.is_object()) throw NotUnderstood("credentials: a login is no object");
        auto& entry = entries_[key];
        for (const auto& [field, content] : value.items()) entry.is_known &= field == "auth" || is_empty(content);
        if (!entry.is_known) continue;
        const auto auth = text(value, "auth");
        if (auth.empty()) continue;
        const auto login = decode_base64(auth);
        // Go cuts what follows a zero byte.
        entry.is_known = login && login->find(':') != std::string::npos && login->find('\0') == std::string::npos;
        if (entry.is_known) entry.login = login;
    }
}

std::optional<std::string> AuthDocument::login(const std::string& repository) const {
    const auto use = [](const Entry& entry) -> std::optional<std::string> {
        if (!entry.is_known) throw NotUnderstood("credentials: a login of another kind");
        return entry.login;
    };
    for (auto name = repository;; name.resize(name.rfind('/'))) {
        if (const auto found = entries_.find(name); found != entries_.end()) return use(found->second);
        if (name.find('/') == std::string::npos) break;
    }
    const auto host = host_of(repository);
    const auto older = std::find_if(entries_.begin(), entries_.end(), [&](const auto& entry) {
        // A namespace is for what is in it only.
        const auto& key = entry.first;
        return (key.find("://") != std::string::npos || key.find('/') == std::string::npos) && host_of(key) == host;
    });
    return older != entries_.end() ? use(older->second) : std::nullopt;
}

}  // namespace imaged
