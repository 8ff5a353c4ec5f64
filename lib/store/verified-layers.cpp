// SPDX-License-Identifier: Apache-2.0
#include "store/verified-layers.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <memory>
#include <span>

#include "base/error.hpp"
#include "base/file-descriptor.hpp"

namespace imaged {

namespace {

constexpr const char* parent_name = "extensions/imaged";
constexpr const char* directory_name = "extensions/imaged/layers";
constexpr const char* first_line = "imaged verified 1";
constexpr const char* image_kind = "image";
constexpr std::size_t max_bytes = 1024;
constexpr std::size_t hex_digits = 64;

// Only root and this process's user can have written FILE.
bool is_ours(int file) {
    struct stat status;
    if (::fstat(file, &status) != 0 || !S_ISREG(status.st_mode)) return false;
    return (status.st_uid == 0 || status.st_uid == ::geteuid()) && (status.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

std::optional<std::string> read_own(int directory, const std::string& path) {
    try {
        const auto file = try_open_at(directory, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
        if (!file || !is_ours(file.get())) return std::nullopt;
        return read_all(file.get(), max_bytes, path);
    } catch (const Error&) {
        return std::nullopt;
    }
}

}  // namespace

std::string VerifiedLayers::serialise(const Record& record) {
    auto text = std::string(first_line) + "\nkind " + record.kind + "\ndigest " + record.key + "\nblob " + record.blob +
                "\ncommit " + record.commit + "\n";
    return text + "sum " + sha256(text).hex() + "\n";
}

std::optional<Checksum> VerifiedLayers::parse(const std::string& text, const std::string& kind,
                                              const std::string& key) {
    Record record{kind, key, "", ""};
    const auto field = [&](const std::string& name) {
        const auto begin = text.find("\n" + name + " ");
        if (begin == std::string::npos) return std::string();
        const auto value = begin + name.size() + 2;
        return text.substr(value, text.find('\n', value) - value);
    };
    record.blob = field("blob");
    record.commit = field("commit");
    if (serialise(record) != text) return std::nullopt;
    return Checksum::from_hex(record.commit);
}

std::optional<Checksum> VerifiedLayers::find(const std::string& kind, std::string_view key) const {
    const std::string hex(key);
    const auto text = read_own(repository_, std::string(directory_name) + "/" + hex + "." + kind);
    return text ? parse(*text, kind, hex) : std::nullopt;
}

std::optional<Checksum> VerifiedLayers::layer(LayerKind kind, const Digest& diff_id) const {
    return find(std::string(to_string(kind)), diff_id.hex());
}

std::optional<Checksum> VerifiedLayers::image(const Digest& manifest) const {
    return find(image_kind, manifest.hex());
}

void VerifiedLayers::add_layer(const ImageLayer& layer, const Checksum& commit) const {
    add({std::string(to_string(layer.kind)), std::string(layer.diff_id.hex()), std::string(layer.blob.digest.hex()),
         commit.hex()});
}

void VerifiedLayers::add_image(const Digest& manifest, const Checksum& commit) const {
    add({image_kind, std::string(manifest.hex()), std::string(manifest.hex()), commit.hex()});
}

void VerifiedLayers::add(const Record& record) const {
    static std::atomic<unsigned> count = 0;
    const auto text = serialise(record);
    const auto name = std::string(directory_name) + "/" + record.key + "." + record.kind;
    if (read_own(repository_, name) == text) return;
    const auto unfinished =
        std::string(directory_name) + "/." + std::to_string(::getpid()) + "-" + std::to_string(count++);
    for (const char* directory : {"extensions", parent_name, directory_name}) {
        if (::mkdirat(repository_, directory, 0755) != 0 && errno != EEXIST)
            throw_errno("make " + std::string(directory));
    }
    ::unlinkat(repository_, unfinished.c_str(), 0);
    {
        const auto file = open_at(repository_, unfinished, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0644);
        write_all(file.get(), std::as_bytes(std::span(text)), name);
    }
    if (::renameat(repository_, unfinished.c_str(), repository_, name.c_str()) != 0) throw_errno("name " + name);
}

std::vector<std::string> VerifiedLayers::stale(const std::function<bool(const Checksum&)>& there) const {
    std::vector<std::string> stale;
    auto directory = try_open_at(repository_, directory_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (!directory) return stale;
    const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(directory.get()), ::closedir);
    if (!stream) throw_errno("list " + std::string(directory_name));
    const int raw = directory.release();
    while (const dirent* entry = ::readdir(stream.get())) {
        const std::string name = entry->d_name;
        if (name == "." || name == "..") continue;
        const bool named = name.size() > hex_digits && name[hex_digits] == '.';
        const auto text = named ? read_own(raw, name) : std::nullopt;
        const auto commit = text ? parse(*text, name.substr(hex_digits + 1), name.substr(0, hex_digits)) : std::nullopt;
        if (!commit || !there(*commit)) stale.push_back(std::string(directory_name) + "/" + name);
    }
    return stale;
}

}  // namespace imaged
