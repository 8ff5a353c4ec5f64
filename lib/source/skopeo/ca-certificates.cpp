// SPDX-License-Identifier: Apache-2.0
#include "source/skopeo/ca-certificates.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <span>

#include "base/error.hpp"
#include "base/file-descriptor.hpp"

namespace imaged {

namespace {

namespace fs = std::filesystem;

// In the order in which skopeo looks; it takes the first that has a directory for the registry.
constexpr std::array places{"/etc/containers/certs.d", "/etc/docker/certs.d"};
constexpr std::size_t max_certificate_bytes = 1024 * 1024, max_certificates = 100;
constexpr const char* default_registry = "docker.io";

bool is_name(const std::string& registry) {
    constexpr std::string_view allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]";
    return !registry.empty() && registry.front() != '.' && registry.find_first_not_of(allowed) == std::string::npos;
}

void copy_certificate(const fs::path& from, const fs::path& to) {
    const auto source = try_open_file(AT_FDCWD, from.string());
    if (!source) return;
    const auto text = read_all(source.get(), max_certificate_bytes, from.string());
    const auto copy = open_at(AT_FDCWD, to.string(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
    write_all(copy.get(), std::as_bytes(std::span(text)), to.string());
}

}  // namespace

std::string registry_of(const std::string& name) {
    const auto slash = name.find('/');
    auto first = name.substr(0, slash);
    const bool is_host = first.find_first_of(".:") != std::string::npos || first == "localhost";
    return slash != std::string::npos && is_host ? first : default_registry;
}

std::string ca_directory(const std::string& registry, const std::string& scratch) {
    if (scratch.empty()) return "/nonexistent";
    const auto directory = fs::path(scratch) / "certificates";
    if (::mkdir(directory.c_str(), 0700) != 0) throw_errno("make " + directory.string());
    if (!is_name(registry)) return directory.string();
    for (const char* place : places) {
        std::error_code none;
        fs::directory_iterator entries(fs::path(place) / registry, none);
        if (none) continue;
        std::size_t count = 0;
        for (const auto& entry : entries) {
            if (entry.path().extension() != ".crt") continue;
            if (++count > max_certificates) break;
            copy_certificate(entry.path(), directory / entry.path().filename());
        }
        break;
    }
    return directory.string();
}

}  // namespace imaged
