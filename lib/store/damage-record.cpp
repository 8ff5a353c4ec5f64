// SPDX-License-Identifier: Apache-2.0
#include "store/damage-record.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "base/error.hpp"
#include "base/file-descriptor.hpp"
#include "base/json.hpp"

namespace imaged {

namespace {

using nlohmann::json;

// Of some ten thousand damaged images.
constexpr std::size_t max_record_bytes = 16 * 1024 * 1024;

void make_directory(int repository, const char* path) {
    if (::mkdirat(repository, path, 0755) != 0 && errno != EEXIST) throw_errno(std::string("make ") + path);
}

}  // namespace

DamageRecord DamageRecord::read(int repository) {
    DamageRecord record;
    try {
        const auto file = try_open_at(repository, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
        if (!file) return record;
        const auto document = parse_json(read_all(file.get(), max_record_bytes, path));
        for (const auto& [image, entry] : document.items()) {
            const auto commit = Checksum::from_hex(entry.at("commit").get<std::string>());
            if (commit) record.entries_.emplace(image, Entry{*commit, entry.at("error").get<std::string>()});
        }
    } catch (const std::exception&) {
        record.entries_.clear();
    }
    return record;
}

void DamageRecord::update(const std::vector<ImageVerdict>& verdicts, bool all) {
    if (all) entries_.clear();
    for (const auto& verdict : verdicts) {
        entries_.erase(verdict.image);
        if (verdict.damage.empty()) continue;
        const auto more = verdict.damage_count - 1;
        entries_[verdict.image] = {verdict.commit, verdict.damage.front().message +
                                                       (more > 0 ? " (and " + std::to_string(more) + " more)" : "")};
    }
}

void DamageRecord::write(int repository) const {
    if (entries_.empty()) {
        if (::unlinkat(repository, path, 0) != 0 && errno != ENOENT) throw_errno(std::string("remove ") + path);
        return;
    }
    auto document = json::object();
    for (const auto& [image, entry] : entries_)
        document[image] = {{"commit", entry.commit.hex()}, {"error", entry.error}};
    const auto text = json_text(document);
    make_directory(repository, "extensions");
    make_directory(repository, "extensions/imaged");
    const auto temporary = std::string(path) + ".new";
    try {
        const auto file = open_at(repository, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0644);
        write_all(file.get(), std::as_bytes(std::span(text)), temporary);
        if (::renameat(repository, temporary.c_str(), repository, path) != 0)
            throw_errno(std::string("replace ") + path);
    } catch (const Error&) {
        ::unlinkat(repository, temporary.c_str(), 0);
        throw;
    }
}

const std::string* DamageRecord::error_of(const std::string& image, const Checksum& commit) const {
    const auto found = entries_.find(image);
    return found == entries_.end() || found->second.commit != commit ? nullptr : &found->second.error;
}

}  // namespace imaged
