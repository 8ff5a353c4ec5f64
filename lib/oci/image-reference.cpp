// SPDX-License-Identifier: Apache-2.0
#include "oci/image-reference.hpp"

#include <algorithm>

#include "base/enum-names.hpp"
#include "base/error.hpp"

namespace imaged {

namespace {

// A reference becomes part of a file name below refs/; PATH_MAX leaves room for three times this after escaping.
constexpr std::size_t max_reference_bytes = 1024;

constexpr auto transports = enum_names<Transport>({
    {Transport::registry, "docker"},
    {Transport::oci, "oci"},
    {Transport::oci_archive, "oci-archive"},
    {Transport::docker_archive, "docker-archive"},
    {Transport::containers_storage, "containers-storage"},
    {Transport::docker_daemon, "docker-daemon"},
    {Transport::dir, "dir"},
});

// Returns the part of TEXT that a message repeats. If an @ is in it, a password may be too, and messages are logged and
// shown: then it returns "…".
std::string shown(std::string_view text) {
    return text.find('@') == std::string_view::npos ? std::string(text.substr(0, 200)) : "…";
}

[[noreturn]] void refuse(std::string_view text, const std::string& why) {
    throw Error(ErrorKind::invalid_reference, "invalid image reference \"" + shown(text) + "\": " + why);
}

// Whether TEXT is ALGORITHM:HEX with as many digits as skopeo wants at least. Fewer may be the port of a host.
bool is_digest(std::string_view text) {
    constexpr std::string_view hex = "0123456789abcdefABCDEF";
    constexpr std::size_t min_digits = 32;
    const auto colon = text.find(':');
    return colon != std::string_view::npos && colon != 0 && text.find_first_of("/@") == std::string_view::npos &&
           text.size() - colon - 1 >= min_digits && text.find_first_not_of(hex, colon + 1) == std::string_view::npos;
}

constexpr std::string_view lower_case = "abcdefghijklmnopqrstuvwxyz0123456789";
constexpr std::string_view upper_case = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
constexpr std::string_view word_characters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_";

bool consists_of(std::string_view text, std::string_view characters, std::string_view more = {}) {
    return text.find_first_not_of(std::string(characters).append(more)) == std::string_view::npos;
}

// Whether TEXT may stand between two slashes: letters and digits, and between them ".", "_", "__" or any number of "-".
bool is_path_component(std::string_view text) {
    for (std::size_t begin = 0;;) {
        const auto end = std::min(text.find_first_not_of(lower_case, begin), text.size());
        if (end == begin) return false;
        if (end == text.size()) return true;
        begin = std::min(text.find_first_of(lower_case, end), text.size());
        const auto separator = text.substr(end, begin - end);
        if (separator != "." && separator != "_" && separator != "__" && !consists_of(separator, "-")) return false;
    }
}

bool is_tag(std::string_view text) {
    constexpr std::size_t max_tag = 128;
    return !text.empty() && text.size() <= max_tag && consists_of(text.substr(0, 1), word_characters) &&
           consists_of(text, word_characters, ".-");
}

// Whether TEXT, before the first slash of a name, is a host and no part of a path. As other tools see it, upper case
// makes it one.
bool is_host(std::string_view text) {
    return text == "localhost" || text.find_first_of(".:") != std::string_view::npos ||
           !consists_of(text, lower_case, "_-");
}

// Removes PREFIX from the front of TEXT; returns whether it was there.
bool take_prefix(std::string_view& text, std::string_view prefix) {
    if (!text.starts_with(prefix)) return false;
    text.remove_prefix(prefix.size());
    return true;
}

std::string_view take_remote(std::string_view whole, std::string_view& rest) {
    const auto colon = rest.find(':');
    if (colon == std::string_view::npos || colon == 0)
        refuse(whole, "an OSTree remote and a colon must follow the signature source");
    const auto remote = rest.substr(0, colon);
    if (remote.find('/') != std::string_view::npos) refuse(whole, "the name of an OSTree remote has no slash");
    rest.remove_prefix(colon + 1);
    return remote;
}

}  // namespace

ImageReference ImageReference::parse(std::string_view text) {
    if (text.empty()) refuse(text, "it is empty");
    if (text.size() > max_reference_bytes)
        refuse(text, "it is longer than " + std::to_string(max_reference_bytes) + " bytes");
    for (const unsigned char character : text) {
        if (character < 0x20 || character == 0x7f) refuse("…", "it has a control character");
    }
    ImageReference reference;
    auto rest = text;
    bool registry_only = false;
    if (take_prefix(rest, "ostree-image-signed:")) {
        reference.source_ = SignatureSource::container_policy;
    } else if (take_prefix(rest, "ostree-unverified-image:")) {
        reference.source_ = SignatureSource::unverified;
    } else if (take_prefix(rest, "ostree-unverified-registry:")) {
        reference.source_ = SignatureSource::unverified;
        registry_only = true;
    } else if (take_prefix(rest, "ostree-remote-image:")) {
        reference.source_ = SignatureSource::ostree_remote;
        reference.remote_ = take_remote(text, rest);
    } else if (take_prefix(rest, "ostree-remote-registry:")) {
        reference.source_ = SignatureSource::ostree_remote;
        reference.remote_ = take_remote(text, rest);
        registry_only = true;
    }
    if (registry_only) {
        // The short forms name a registry without a transport; a transport there is a mistake, not a host name.
        if (rest.starts_with("docker://") || rest.starts_with("registry:"))
            refuse(text, "this signature source takes a registry name without a transport");
        reference.name_ = rest;
    } else {
        const auto colon = rest.find(':');
        if (colon == std::string_view::npos) refuse(text, "it has no transport, such as docker://");
        const auto scheme = rest.substr(0, colon);
        rest.remove_prefix(colon + 1);
        auto found = transports.value(scheme);
        const bool is_registry_alias = scheme == "registry";
        if (is_registry_alias) found = Transport::registry;
        if (!found) refuse(text, "unknown transport \"" + shown(scheme) + "\"");
        reference.transport_ = *found;
        if (*found == Transport::registry && !take_prefix(rest, "//") && !is_registry_alias)
            refuse(text, "docker: must be followed by //");
        reference.name_ = rest;
    }
    if (reference.name_.empty()) refuse(text, "it names no image");
    if (reference.transport_ == Transport::registry &&
        (reference.name_.front() == '/' || reference.name_.find(' ') != std::string::npos))
        refuse(text, "it names no image in a registry");
    const auto at = reference.name_.find('@');
    if (reference.transport_ == Transport::registry && at != std::string::npos &&
        !is_digest(std::string_view(reference.name_).substr(at + 1)))
        refuse(text, "an @ may stand before a digest only; users and passwords belong into an authfile");
    return reference;
}

std::string ImageReference::image() const {
    return std::string(transports.name(transport_)) + (transport_ == Transport::registry ? "://" : ":") + name_;
}

std::string ImageReference::source() const {
    auto image = this->image();
    if (transport_ != Transport::registry) return image;
    const auto at = image.find('@');
    if (at == std::string::npos) return image;
    const auto colon = image.rfind(':', at);
    if (colon > image.rfind('/', at)) image.erase(colon, at - colon);
    return image;
}

std::optional<std::string> ImageReference::digest() const {
    const auto at = name_.find('@');
    if (transport_ != Transport::registry || at == std::string::npos) return {};
    return name_.substr(at + 1);
}

std::string ImageReference::canonical() const {
    const bool registry = transport_ == Transport::registry;
    switch (source_) {
        case SignatureSource::configured: return image();
        case SignatureSource::container_policy: return "ostree-image-signed:" + image();
        case SignatureSource::unverified:
            return registry ? "ostree-unverified-registry:" + name_ : "ostree-unverified-image:" + image();
        case SignatureSource::ostree_remote:
            return registry ? "ostree-remote-registry:" + *remote_ + ":" + name_
                            : "ostree-remote-image:" + *remote_ + ":" + image();
    }
    return image();
}

void ImageReference::require_registry_name() const {
    if (transport_ != Transport::registry) return;
    const auto text = image();
    auto path = std::string_view(name_).substr(0, name_.find('@'));
    if (const auto slash = path.find('/'); slash != std::string_view::npos && is_host(path.substr(0, slash))) {
        if (!consists_of(path.substr(0, slash), word_characters, ".:-[]"))
            refuse(text, "\"" + shown(path.substr(0, slash)) + "\" is no host");
        path.remove_prefix(slash + 1);
    }
    const auto last = path.rfind('/') + 1;  // 0 if there is none
    if (const auto colon = path.find(':', last); colon != std::string_view::npos) {
        if (!is_tag(path.substr(colon + 1))) refuse(text, "\"" + shown(path.substr(colon + 1)) + "\" is no tag");
        path = path.substr(0, colon);
    }
    for (std::size_t begin = 0; begin <= path.size();) {
        const auto component = path.substr(begin, std::min(path.find('/', begin), path.size()) - begin);
        if (!is_path_component(component))
            refuse(text, component.empty() ? "a part of its name is empty"
                                           : "\"" + shown(component) + "\" is no part of a name in a registry" +
                                                 (component.find_first_of(upper_case) == std::string_view::npos
                                                      ? ""
                                                      : ", which is in lower case"));
        begin += component.size() + 1;
    }
}

ImageReference ImageReference::with(SignatureSource source) const {
    auto copy = *this;
    copy.source_ = source;
    copy.remote_.reset();
    return copy;
}

ImageReference ImageReference::with_source_of(const ImageReference& other) const {
    auto copy = *this;
    copy.source_ = other.source_;
    copy.remote_ = other.remote_;
    return copy;
}

ImageReference ImageReference::with_suffix(std::string_view suffix) const {
    auto copy = *this;
    auto& name = copy.name_;
    if (transport_ == Transport::registry) name.resize(std::min(name.find('@'), name.size()));
    const auto colon = name.rfind(':');
    const auto slash = name.rfind('/');
    // The colon of a port stands before a slash.
    if (colon != std::string::npos && (slash == std::string::npos || colon > slash)) name.resize(colon);
    name += suffix;
    return copy;
}

}  // namespace imaged
