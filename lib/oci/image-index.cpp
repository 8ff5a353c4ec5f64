// SPDX-License-Identifier: Apache-2.0
#include "oci/image-index.hpp"

#include <sys/utsname.h>

#include <array>
#include <set>
#include <utility>

#include "base/error.hpp"
#include "base/json.hpp"
#include "oci/json-document.hpp"

namespace imaged {

namespace {

using nlohmann::json;

// The platforms that an error message names.
constexpr std::size_t max_named_platforms = 10;

struct Platform {
    std::string os, architecture, variant;
};

// Whether every processor of the architecture has what the variant needs.
bool runs_everywhere(const Platform& platform) {
    return (platform.architecture == "amd64" && platform.variant == "v1") ||
           (platform.architecture == "arm64" && platform.variant == "v8") || platform.architecture == "arm";
}

std::optional<Platform> platform_of(const json& entry) {
    const auto* platform = optional_object(entry, "platform");
    if (platform == nullptr) return std::nullopt;
    const auto text = [&](const char* key) { return optional_text(*platform, key).value_or(""); };
    return Platform{text("os"), text("architecture"), text("variant")};
}

const json& entries_of(const json& index) {
    const auto* entries = optional_array(index, "manifests");
    if (entries == nullptr || entries->empty()) throw Error(ErrorKind::corrupt_input, "the index has no manifests");
    for (const auto& entry : *entries) {
        if (!entry.is_object()) throw Error(ErrorKind::corrupt_input, "a descriptor of the index is not an object");
    }
    return *entries;
}

[[noreturn]] void no_platform(const json& entries, const std::string& architecture) {
    std::set<std::string> names;
    for (const auto& entry : entries) {
        if (const auto platform = platform_of(entry); platform && names.size() < max_named_platforms)
            names.insert(platform->os + "/" + platform->architecture +
                         (platform->variant.empty() ? "" : "/" + platform->variant));
    }
    std::string list;
    for (const auto& name : names) list += (list.empty() ? "" : ", ") + name;
    throw Error(ErrorKind::not_found, "no image found in the index for linux/" + architecture + "; it has " + list);
}

}  // namespace

std::string host_architecture() {
    struct utsname system;
    if (::uname(&system) != 0) throw_errno("uname");
    const std::string name = system.machine;
    constexpr std::array<std::pair<const char*, const char*>, 11> names{{{"x86_64", "amd64"},
                                                                         {"aarch64", "arm64"},
                                                                         {"armv8l", "arm"},
                                                                         {"armv7l", "arm"},
                                                                         {"armv6l", "arm"},
                                                                         {"armv5tel", "arm"},
                                                                         {"i386", "386"},
                                                                         {"i486", "386"},
                                                                         {"i586", "386"},
                                                                         {"i686", "386"},
                                                                         {"loongarch64", "loong64"}}};
    for (const auto& [kernel, image] : names) {
        if (name == kernel) return image;
    }
    return name;
}

Descriptor index_descriptor(const json& entry) {
    refuse_artifact(entry);
    return {optional_text(entry, "mediaType").value_or(""), Digest::parse(required_text(entry, "digest")),
            required_count(entry, "size")};
}

Descriptor choose_for_host(const json& index) {
    const auto& entries = entries_of(index);
    const auto architecture = host_architecture();
    const json *with_variant = nullptr, *without_platform = nullptr;
    for (const auto& entry : entries) {
        const auto platform = platform_of(entry);
        if (!platform) {
            if (without_platform == nullptr) without_platform = &entry;
        } else if (platform->os == "linux" && platform->architecture == architecture) {
            if (platform->variant.empty()) return index_descriptor(entry);
            if (with_variant == nullptr && runs_everywhere(*platform)) with_variant = &entry;
        }
    }
    if (with_variant != nullptr) return index_descriptor(*with_variant);
    if (without_platform != nullptr) return index_descriptor(*without_platform);
    no_platform(entries, architecture);
}

std::optional<Descriptor> choose_image(std::string_view text) {
    if (!Manifest::is_index(text)) return std::nullopt;
    return choose_for_host(parse_document(text, max_manifest_bytes, "index"));
}

std::optional<Descriptor> listed_manifest(std::string_view text, const Digest& digest) {
    if (!Manifest::is_index(text)) return std::nullopt;
    const auto document = parse_document(text, max_manifest_bytes, "index");
    for (const auto& entry : entries_of(document)) {
        if (optional_text(entry, "digest") == digest.text()) return index_descriptor(entry);
    }
    return std::nullopt;
}

}  // namespace imaged
