// SPDX-License-Identifier: Apache-2.0
#include "registry/registries-conf.hpp"

#include <toml++/toml.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <string_view>

#include "registry/not-understood.hpp"

namespace imaged {

namespace {

// What the file may have at its top without changing where an image with a full name comes from.
constexpr std::array<std::string_view, 4> other_keys{"unqualified-search-registries", "short-name-mode", "aliases",
                                                     "additional-layer-store-auth-helper"};
constexpr std::string_view auth_files = "containers-auth.json";

[[noreturn]] void refuse(const std::string& what) {
    throw NotUnderstood("registries.conf: " + what);
}

void require_keys(const toml::table& table, std::initializer_list<std::string_view> known) {
    for (const auto& [key, value] : table) {
        if (std::find(known.begin(), known.end(), key.str()) == known.end())
            refuse("unknown key " + std::string(key.str()));
    }
}

std::string text(const toml::table& table, std::string_view key) {
    const auto* const node = table.get(key);
    if (node == nullptr) return {};
    if (!node->is_string()) refuse(std::string(key) + " is no text");
    return node->ref<std::string>();
}

bool flag(const toml::table& table, std::string_view key) {
    const auto* const node = table.get(key);
    if (node == nullptr) return false;
    if (!node->is_boolean()) refuse(std::string(key) + " is neither true nor false");
    return node->ref<bool>();
}

const toml::array* array(const toml::table& table, std::string_view key) {
    const auto* const node = table.get(key);
    if (node == nullptr) return nullptr;
    if (!node->is_array()) refuse(std::string(key) + " is no array");
    return node->as_array();
}

const toml::table& as_table(const toml::node& node) {
    if (!node.is_table()) refuse("an entry is no table");
    return *node.as_table();
}

constexpr std::string_view name_characters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";

// What a request is made of is nothing else than HOST[:PORT]/PATH: no user, query or scheme, no way up.
void require_repository(const std::string& repository) {
    const auto slash = repository.find('/');
    const auto host = std::string_view(repository).substr(0, slash);
    if (slash == std::string::npos || host.empty() ||
        host.find_first_not_of(std::string(name_characters) + ":[]") != std::string::npos)
        refuse("a strange host");
    const auto path = std::string_view(repository).substr(slash);
    if (path.find_first_not_of(std::string(name_characters) + "/") != std::string::npos || path.ends_with('/') ||
        path.find("//") != std::string::npos || path.find("/.") != std::string::npos)
        refuse("a strange repository");
}

// Whether PREFIX is IMAGE or what it begins with, up to a separator.
bool matches(const std::string& image, const std::string& prefix) {
    if (prefix.starts_with("*.")) {
        // skopeo looks for the rest of it anywhere in the name, and cuts the name in its own way.
        if (image.find(prefix.substr(1)) != std::string::npos) refuse("a prefix with a wildcard");
        return false;
    }
    if (!image.starts_with(prefix)) return false;
    if (image.size() == prefix.size()) return true;
    const char next = image[prefix.size()];
    // A host without its port: versions of skopeo differ.
    if (next == ':' && prefix.find('/') == std::string::npos) refuse("a prefix without the port");
    return next == '/' || next == ':' || next == '@';
}

std::string without_tag(std::string name) {
    name.resize(std::min(name.find('@'), name.size()));
    const auto colon = name.rfind(':');
    if (colon != std::string::npos && name.find('/', colon) == std::string::npos) name.resize(colon);
    return name;
}

// IMAGE, which begins with PREFIX, at LOCATION.
Endpoint endpoint(const std::string& image, const std::string& prefix, const std::string& location, bool insecure) {
    if (location.empty()) refuse("a mirror without a location");
    const Endpoint found{without_tag(location + image.substr(prefix.size())), insecure};
    require_repository(found.repository);
    return found;
}

// Whether the mirror serves images with a digest, or with a tag.
bool serves(const toml::table& mirror, bool has_digest, bool digest_only) {
    const auto which = text(mirror, "pull-from-mirror");
    if (which.empty() || which == "all") return has_digest || !digest_only;
    if (digest_only) refuse("both mirror-by-digest-only and pull-from-mirror");
    if (which == "digest-only") return has_digest;
    if (which == "tag-only") return !has_digest;
    refuse("unknown value of pull-from-mirror");
}

std::vector<Endpoint> endpoints_of(const toml::table& registry, const std::string& prefix, const std::string& image) {
    if (flag(registry, "blocked")) refuse("the registry is blocked");
    const bool has_digest = image.find('@') != std::string::npos;
    const bool digest_only = flag(registry, "mirror-by-digest-only");
    std::vector<Endpoint> endpoints;
    if (const auto* const mirrors = array(registry, "mirror")) {
        for (const auto& node : *mirrors) {
            const auto& mirror = as_table(node);
            require_keys(mirror, {"location", "insecure", "pull-from-mirror"});
            if (serves(mirror, has_digest, digest_only))
                endpoints.push_back(endpoint(image, prefix, text(mirror, "location"), flag(mirror, "insecure")));
        }
    }
    const auto location = text(registry, "location");
    endpoints.push_back(endpoint(image, prefix, location.empty() ? prefix : location, flag(registry, "insecure")));
    return endpoints;
}

toml::table parse(const std::string& text) {
    try {
        return toml::parse(std::string_view(text));
    } catch (const toml::parse_error& error) {
        refuse(std::string(error.description()));
    }
}

// By their prefixes.
using Registries = std::map<std::string, toml::table>;

// Those of one file.
Registries registries_of(const toml::table& file) {
    Registries registries;
    const auto* const listed = array(file, "registry");
    if (listed == nullptr) return registries;
    for (const auto& node : *listed) {
        const auto& registry = as_table(node);
        // Of all of them: a key that is not known may be another spelling of one, which decides whom it is about.
        require_keys(registry, {"prefix", "location", "insecure", "blocked", "mirror", "mirror-by-digest-only"});
        auto prefix = text(registry, "prefix");
        if (prefix.empty()) prefix = text(registry, "location");
        if (prefix.empty()) refuse("a registry without a name");
        // skopeo takes these for the same name without it.
        if (prefix.ends_with('/')) refuse("a prefix that ends in a slash");
        if (!registries.emplace(prefix, registry).second) refuse("a prefix that is there twice");
    }
    return registries;
}

// The one with the longest prefix that NAME begins with; null if there is none.
const Registries::value_type* entry_for(const Registries& registries, const std::string& name) {
    const Registries::value_type* found = nullptr;
    for (const auto& entry : registries) {
        if (matches(name, entry.first) && (found == nullptr || entry.first.size() > found->first.size()))
            found = &entry;
    }
    return found;
}

// Whether FILE names credential helpers; nullopt if it does not mention them.
std::optional<bool> has_helpers(const toml::table& file) {
    const auto* const helpers = array(file, "credential-helpers");
    if (helpers == nullptr || helpers->empty()) return std::nullopt;
    return std::any_of(helpers->begin(), helpers->end(), [](const toml::node& helper) {
        return !helper.is_string() || helper.ref<std::string>() != auth_files;
    });
}

}  // namespace

RegistriesConf read_registries_conf(const std::vector<std::string>& texts, const std::string& image) {
    Registries registries;
    RegistriesConf conf;
    for (const auto& text : texts) {
        const auto file = parse(text);
        for (const auto& [key, value] : file) {
            if (key.str() != "registry" && key.str() != "credential-helpers" &&
                std::find(other_keys.begin(), other_keys.end(), key.str()) == other_keys.end())
                refuse("unknown key " + std::string(key.str()));
        }
        for (auto& [prefix, registry] : registries_of(file)) registries.insert_or_assign(prefix, registry);
        conf.credential_helpers = has_helpers(file).value_or(conf.credential_helpers);
    }
    const auto* const found = entry_for(registries, image);
    if (found == nullptr) {
        conf.endpoints.push_back(endpoint(image, image, image, false));
        return conf;
    }
    conf.endpoints = endpoints_of(found->second, found->first, image);
    // Where it leads to may have an entry of its own; of that only this counts.
    std::erase_if(conf.endpoints, [&](const Endpoint& place) {
        const auto* const own = entry_for(registries, place.repository);
        return own != nullptr && flag(own->second, "blocked");
    });
    if (conf.endpoints.empty()) refuse("every location of the image is blocked");
    return conf;
}

}  // namespace imaged
