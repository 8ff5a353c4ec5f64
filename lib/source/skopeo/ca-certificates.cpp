// SPDX-License-Identifier: Apache-2.0
#include "source/skopeo/ca-certificates.hpp"

#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <memory>
#include <span>
#include <string_view>

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

struct Free {
    void operator()(BIO* bio) const { BIO_free(bio); }
    void operator()(X509* certificate) const { X509_free(certificate); }
    void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};

int no_password(char*, int, int, void*) {
    return 0;
}

bool has_certificate(BIO* text) {
    return std::unique_ptr<X509, Free>(PEM_read_bio_X509(text, nullptr, no_password, nullptr)) != nullptr;
}

bool has_key(BIO* text) {
    return std::unique_ptr<EVP_PKEY, Free>(PEM_read_bio_PrivateKey(text, nullptr, no_password, nullptr)) != nullptr;
}

// What is wrong with FILE, of a registry's directory; nullopt if nothing is, or if skopeo does not look at it.
std::optional<std::string> fault_of(const fs::path& file) {
    const auto extension = file.extension();
    const bool is_key = extension == ".key", is_client = extension == ".cert";
    if (!is_key && !is_client && extension != ".crt") return {};
    const auto other = fs::path(file).replace_extension(is_key ? ".cert" : ".key");
    std::error_code none;
    if ((is_key || is_client) && !fs::exists(other, none)) return file.string() + " is there without " + other.string();
    const auto descriptor = try_open_at(AT_FDCWD, file.string(), O_RDONLY | O_NONBLOCK);
    if (!descriptor) return file.string() + " cannot be opened";
    const auto text = read_all(descriptor.get(), max_certificate_bytes, file.string());
    const std::unique_ptr<BIO, Free> bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
    if (is_key ? has_key(bio.get()) : has_certificate(bio.get())) return {};
    return file.string() + (is_key ? " holds no private key without a password" : " holds no certificate") +
           " in the PEM format";
}

void copy_certificate(const fs::path& from, const fs::path& to) {
    const auto source = try_open_file(AT_FDCWD, from.string());
    if (!source) return;
    const auto text = read_all(source.get(), max_certificate_bytes, from.string());
    const auto copy = open_at(AT_FDCWD, to.string(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
    write_all(copy.get(), std::as_bytes(std::span(text)), to.string());
}

// Whether skopeo cannot list DIRECTORY; BY_SERVICE: as the user of imaged-proxy@.service, who owns nothing.
bool is_closed(const fs::path& directory, bool by_service) {
    if (!by_service) return ::faccessat(AT_FDCWD, directory.c_str(), R_OK | X_OK, AT_EACCESS) != 0;
    struct stat status {};
    if (::stat(directory.c_str(), &status) != 0) return false;
    constexpr mode_t others = S_IROTH | S_IXOTH, group = S_IRGRP | S_IXGRP;
    const bool of_a_group = status.st_gid != 0 && (status.st_mode & group) == group;
    return (status.st_mode & others) != others && !of_a_group;
}

// The first fault in the directory of a registry that TEXT names.
std::optional<std::string> fault_for(const std::string& text, bool by_service) {
    for (const char* place : places) {
        std::error_code none;
        for (const auto& registry : fs::directory_iterator(place, none)) {
            if (text.find(registry.path().filename().string()) == std::string::npos) continue;
            if (is_closed(registry.path(), by_service))
                return registry.path().string() + " is closed to the user that skopeo runs as";
            for (const auto& file : fs::directory_iterator(registry.path(), none)) {
                if (auto fault = fault_of(file.path())) return fault;
            }
        }
    }
    return {};
}

}  // namespace

Error with_certificate_fault(const Error& error, const std::string& image, bool by_service) {
    const std::string text = error.what();
    const auto mentions = [&](std::string_view word) { return text.find(word) != std::string::npos; };
    if (!mentions("x509:") && !mentions("tls:") && !mentions("certificate")) return error;
    std::optional<std::string> fault;
    try {
        fault = fault_for(text + " " + image, by_service);
    } catch (const Error& unreadable) {
        fault = unreadable.what();
    }
    return fault ? Error(ErrorKind::failed, *fault + "; " + text) : error;
}

std::string registry_of(const std::string& name) {
    const auto slash = name.find('/');
    auto first = name.substr(0, slash);
    const bool is_host = first.find_first_of(".:") != std::string::npos || first == "localhost";
    return slash != std::string::npos && is_host ? first : default_registry;
}

std::string ca_directory(const std::optional<std::string>& registry, const std::string& scratch) {
    if (scratch.empty()) return "/nonexistent";
    const auto directory = fs::path(scratch) / "certificates";
    if (::mkdir(directory.c_str(), 0700) != 0) throw_errno("make " + directory.string());
    if (!registry || !is_name(*registry)) return directory.string();
    for (const char* place : places) {
        std::error_code none;
        fs::directory_iterator entries(fs::path(place) / *registry, none);
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
