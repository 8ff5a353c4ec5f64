// SPDX-License-Identifier: Apache-2.0
#include "registry/host-settings.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string_view>
#include <vector>

#include "base/file-descriptor.hpp"
#include "registry/challenge.hpp"
#include "registry/not-understood.hpp"

namespace imaged {

namespace {

namespace fs = std::filesystem;

// In the order in which skopeo looks; it takes the first that has a directory for the host.
constexpr std::array places{"/etc/containers/certs.d", "/etc/docker/certs.d"};
constexpr std::size_t max_certificate_bytes = 1024 * 1024;
constexpr std::size_t max_certificates = 100;

std::string variable(const char* upper, const char* lower) {
    for (const char* name : {upper, lower}) {
        if (const char* value = std::getenv(name); value != nullptr && *value != '\0') return value;
    }
    return {};
}

// An address as 16 bytes, IPv4 mapped; nullopt if TEXT is a name.
std::optional<std::array<unsigned char, 16>> address(const std::string& text) {
    std::array<unsigned char, 16> bytes{};
    if (::inet_pton(AF_INET6, text.c_str(), bytes.data()) == 1) return bytes;
    bytes = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    if (::inet_pton(AF_INET, text.c_str(), bytes.data() + 12) == 1) return bytes;
    return std::nullopt;
}

bool is_this_host(const std::string& host) {
    if (host == "localhost") return true;
    const auto bytes = address(host);
    if (!bytes) return false;
    const bool mapped = (*bytes)[10] == 0xff && (*bytes)[11] == 0xff;
    constexpr std::array<unsigned char, 16> loopback{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
    return mapped ? (*bytes)[12] == 127 : *bytes == loopback;
}

bool in_network(const std::array<unsigned char, 16>& host, const std::string& network, std::uint64_t bits) {
    const auto base = address(network);
    if (!base) return false;
    if (network.find(':') == std::string::npos) bits += 96;
    for (std::uint64_t bit = 0; bit < std::min<std::uint64_t>(bits, 128); ++bit) {
        const auto mask = static_cast<unsigned char>(0x80U >> (bit % 8));
        if (((host[bit / 8] ^ (*base)[bit / 8]) & mask) != 0) return false;
    }
    return true;
}

// Whether ENTRY of NO_PROXY is about HOST.
bool is_excepted(const std::string& host, std::string entry) {
    if (entry == "*") return true;
    const auto bytes = address(host);
    if (const auto slash = entry.find('/'); slash != std::string::npos) {
        const auto bits = parse_number(std::string_view(entry).substr(slash + 1));
        if (!bits) throw NotUnderstood("NO_PROXY: a network");
        return bytes && in_network(*bytes, entry.substr(0, slash), *bits);
    }
    if (const auto other = address(entry)) return bytes == other;
    if (entry.find_first_of(":[]") != std::string::npos) throw NotUnderstood("NO_PROXY: a port");
    if (entry.starts_with("*.")) entry.erase(0, 1);
    if (entry.starts_with('.')) return host.ends_with(entry);
    return host == entry || host.ends_with("." + entry);
}

std::vector<std::string> split(const std::string& list) {
    std::vector<std::string> entries;
    std::string entry;
    for (const char c : list + ",") {
        if (c == ',') {
            if (!entry.empty()) entries.push_back(std::move(entry));
            entry.clear();
        } else if (c != ' ' && c != '\t') {
            entry += c;
        }
    }
    return entries;
}

}  // namespace

HostTrust host_trust(const std::string& host, bool with_client) {
    if (host.starts_with('.') || host.find('/') != std::string::npos) throw NotUnderstood("certs.d: a strange host");
    HostTrust trust;
    for (const char* place : places) {
        std::error_code none;
        fs::directory_iterator entries(fs::path(place) / host, none);
        if (none) continue;
        std::size_t count = 0;
        for (const auto& entry : entries) {
            const auto path = entry.path();
            if (++count > max_certificates) throw NotUnderstood(path.parent_path().string() + " has too many files");
            if (path.extension() == ".crt") {
                const auto file = try_open_file(AT_FDCWD, path.string());
                if (!file) throw NotUnderstood(path.string() + " cannot be opened");
                trust.ca += read_all(file.get(), max_certificate_bytes, path.string()) + "\n";
            } else if (path.extension() == ".cert" && with_client) {
                if (trust.client) throw NotUnderstood(path.parent_path().string() + " has several client certificates");
                trust.client = {path.string(), fs::path(path).replace_extension(".key").string()};
            }
        }
        break;
    }
    return trust;
}

ProxyEnvironment ProxyEnvironment::of_process() {
    return {variable("HTTP_PROXY", "http_proxy"), variable("HTTPS_PROXY", "https_proxy"),
            variable("NO_PROXY", "no_proxy")};
}

std::optional<std::string> ProxyEnvironment::proxy_for(const Origin& origin) const {
    const auto& proxy = origin.scheme == "https" ? https : http;
    if (proxy.empty() || is_this_host(origin.host)) return {};
    const auto scheme = proxy.substr(0, proxy.find("://"));
    if (proxy.find("://") != std::string::npos && scheme != "http" && scheme != "https")
        throw NotUnderstood("a proxy of another kind than HTTP");
    for (const auto& entry : split(in_small_letters(none))) {
        if (is_excepted(origin.host, entry)) return {};
    }
    return proxy;
}

}  // namespace imaged
