// SPDX-License-Identifier: Apache-2.0
#include "source/skopeo/skopeo-request.hpp"

#include "base/enum-names.hpp"
#include "base/error.hpp"
#include "base/json.hpp"
#include "source/skopeo/ca-certificates.hpp"

namespace imaged {

namespace {

using nlohmann::json;
using Kind = SkopeoRequest::Kind;

constexpr auto kinds = enum_names<Kind>({
    {Kind::image_proxy, "image-proxy"},
    {Kind::inspect_raw, "inspect-raw"},
    {Kind::look_up, "look-up"},
    {Kind::push, "push"},
    {Kind::push_index, "push-index"},
    {Kind::rewrite_index, "rewrite-index"},
    {Kind::check_policy, "check-policy"},
    {Kind::blobs, "blobs"},
});
// The tag under which a policy check stores what passed.
constexpr const char* checked_tag = "checked";

[[noreturn]] void refuse(const std::string& why) {
    throw Error(ErrorKind::failed, "request for skopeo: " + why);
}

std::string text(const json& document, const char* key) {
    const auto found = document.find(key);
    if (found == document.end() || !found->is_string()) refuse(std::string("no text \"") + key + "\"");
    return found->get<std::string>();
}

std::optional<std::string> optional_text(const json& document, const char* key) {
    return document.contains(key) ? std::optional(text(document, key)) : std::nullopt;
}

bool flag(const json& document, const char* key) {
    const auto found = document.find(key);
    if (found == document.end() || !found->is_boolean()) refuse(std::string("no flag \"") + key + "\"");
    return found->get<bool>();
}

std::string certificate_option(Kind kind) {
    switch (kind) {
        case Kind::image_proxy:
        case Kind::blobs:
        case Kind::inspect_raw:
        case Kind::look_up: return "--cert-dir=";
        case Kind::push:
        case Kind::push_index:
        case Kind::rewrite_index: return "--dest-cert-dir=";
        case Kind::check_policy: return "--src-cert-dir=";
    }
    return "";
}

}  // namespace

bool has_channel(Kind kind) {
    return kind == Kind::image_proxy || kind == Kind::blobs;
}

bool is_push(Kind kind) {
    return kind == Kind::push || kind == Kind::push_index || kind == Kind::rewrite_index;
}

bool prints_messages(Kind kind) {
    return kind != Kind::inspect_raw && kind != Kind::look_up;
}

std::vector<std::string> skopeo_command(const SkopeoRequest& request, bool has_auth_file, const std::string& layout,
                                        const std::string& scratch) {
    std::vector<std::string> command{"skopeo"};
    if (!scratch.empty()) command.push_back("--tmpdir=" + scratch);
    if (request.registries_conf) command.push_back("--registries-conf=" + *request.registries_conf);
    if (request.registries_d) command.push_back("--registries.d=" + *request.registries_d);
    if (request.policy) command.push_back("--policy=" + path_of_descriptor(skopeo_policy));
    // The containers policy is about where images come from, and what is pushed is ours.
    if (is_push(request.kind)) command.emplace_back("--insecure-policy");
    switch (request.kind) {
        case Kind::image_proxy:
            command.insert(command.end(), {"experimental-image-proxy", "--sockfd", std::to_string(skopeo_channel)});
            break;
        case Kind::inspect_raw:
        case Kind::look_up: command.insert(command.end(), {"inspect", "--raw"}); break;
        case Kind::push: command.insert(command.end(), {"copy", "--quiet", "--preserve-digests"}); break;
        case Kind::push_index:
            command.insert(command.end(), {"copy", "--quiet", "--preserve-digests", "--multi-arch=index-only"});
            break;
        case Kind::rewrite_index: command.insert(command.end(), {"copy", "--quiet", "--multi-arch=index-only"}); break;
        case Kind::check_policy: command.insert(command.end(), {"copy", "--quiet", "--remove-signatures"}); break;
        case Kind::blobs: break;
    }
    if (has_auth_file) {
        command.push_back("--authfile=" + path_of_descriptor(skopeo_auth_file));
    } else if (!request.host_credentials) {
        command.emplace_back(request.kind == Kind::check_policy ? "--src-no-creds" : "--no-creds");
    }
    if (!request.host_credentials)
        command.push_back(certificate_option(request.kind) + ca_directory(request.registry, scratch));
    if (request.kind == Kind::image_proxy) return command;
    command.emplace_back("--");
    if (is_push(request.kind)) command.push_back("oci:" + layout + ":" + request.tag);
    command.push_back(request.image);
    if (request.kind == Kind::check_policy) command.push_back("oci:" + layout + ":" + checked_tag);
    return command;
}

std::string encode(const SkopeoRequest& request, bool has_auth_file) {
    json document{{"kind", kinds.name(request.kind)},
                  {"image", request.image},
                  {"tag", request.tag},
                  {"blobs", request.blobs},
                  {"auth-file", has_auth_file},
                  {"host-credentials", request.host_credentials},
                  {"background", request.background},
                  {"policy", request.policy.has_value()}};
    if (request.registries_conf) document["registries-conf"] = *request.registries_conf;
    if (request.registries_d) document["registries-d"] = *request.registries_d;
    if (request.registry) document["registry"] = *request.registry;
    try {
        return document.dump();
    } catch (const json::type_error&) {
        refuse("the image's name or a path is not UTF-8");
    }
}

ReceivedRequest decode_skopeo_request(std::string_view packet) {
    const auto document = parse_json(packet);
    if (!document.is_object()) refuse("not a JSON object");
    ReceivedRequest received;
    const auto name = text(document, "kind");
    const auto kind = kinds.value(name);
    if (!kind) refuse("unknown kind \"" + name + "\"");
    received.request.kind = *kind;
    received.request.image = text(document, "image");
    received.request.tag = text(document, "tag");
    received.request.registries_conf = optional_text(document, "registries-conf");
    received.request.registries_d = optional_text(document, "registries-d");
    const auto blobs = document.find("blobs");
    if (blobs == document.end() || !blobs->is_object()) refuse("no sizes \"blobs\"");
    for (const auto& [digest, size] : blobs->items()) {
        if (!size.is_number_unsigned()) refuse("no size of blob " + digest);
        received.request.blobs.emplace(digest, size.get<std::uint64_t>());
    }
    received.has_auth_file = flag(document, "auth-file");
    received.request.host_credentials = flag(document, "host-credentials");
    received.request.registry = optional_text(document, "registry");
    received.request.background = flag(document, "background");
    received.has_policy = flag(document, "policy");
    return received;
}

}  // namespace imaged
