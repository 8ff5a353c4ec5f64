// SPDX-License-Identifier: Apache-2.0
#include "store/records/damage-record.hpp"

#include <algorithm>
#include <set>
#include <utility>

#include "base/error.hpp"
#include "base/file-descriptor.hpp"
#include "base/json.hpp"
#include "store/files/record-file.hpp"
#include "store/files/ref-name.hpp"

namespace imaged {

namespace {

using nlohmann::json;

Checksum checksum_of(const json& value) {
    const auto checksum = Checksum::from_hex(value.get<std::string>());
    if (!checksum) throw Error(ErrorKind::failed, "a record of damage names no commit");
    return *checksum;
}

}  // namespace

DamageRecord DamageRecord::read(int repository) {
    DamageRecord record;
    const auto directory = open_records(repository, records_directory);
    const auto text = directory ? read_record(directory.get(), damage_record, max_damage_bytes) : std::nullopt;
    if (!text) return record;
    try {
        const auto document = parse_json(*text);
        for (const auto& [image, value] : document.items()) {
            Entry entry{checksum_of(value.at("commit")), value.at("error").get<std::string>(), {}};
            for (const auto& commit : value.value("commits", json::array()))
                entry.commits.push_back(checksum_of(commit));
            record.entries_.emplace(image, std::move(entry));
        }
    } catch (const std::exception&) {
        record.entries_.clear();
    }
    return record;
}

void DamageRecord::set(const std::string& image, std::optional<Entry> entry) {
    entries_.erase(image);
    if (entry) entries_.emplace(image, std::move(*entry));
}

void DamageRecord::keep_only(const std::vector<std::string>& images) {
    const std::set<std::string> kept(images.begin(), images.end());
    std::erase_if(entries_, [&](const auto& entry) { return !kept.contains(entry.first); });
}

void DamageRecord::write(RepositoryWriter& writer) const {
    auto document = json::object();
    for (const auto& [image, entry] : entries_) {
        auto& value = document[image];
        value = {{"commit", entry.commit.hex()}, {"error", entry.error}};
        for (const auto& commit : entry.commits) value["commits"].push_back(commit.hex());
    }
    writer.keep_record(damage_record, entries_.empty() ? std::nullopt : std::optional(json_text(document)));
}

const std::string* DamageRecord::error_of(const std::string& image, const Checksum& commit) const {
    const auto found = entries_.find(image);
    return found == entries_.end() || found->second.commit != commit ? nullptr : &found->second.error;
}

void DamageRecord::require_sound(const Repository& repository, const std::vector<Checksum>& commits) const {
    for (const auto& [image, entry] : entries_) {
        const auto& damaged = entry.commits;
        const bool concerned = std::any_of(commits.begin(), commits.end(), [&](const auto& commit) {
            return std::find(damaged.begin(), damaged.end(), commit) != damaged.end();
        });
        if (concerned &&
            repository.resolve(std::string(image_ref_prefix) + escape_for_ref(image)).commit == entry.commit)
            throw Error(ErrorKind::repository_damaged, "a verification found that the image is damaged: " + image +
                                                           ": " + entry.error + "; run: imagectl verify --repair " +
                                                           image);
    }
}

}  // namespace imaged
