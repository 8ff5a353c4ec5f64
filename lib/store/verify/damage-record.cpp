// SPDX-License-Identifier: Apache-2.0
#include "store/verify/damage-record.hpp"

#include <utility>

#include "base/error.hpp"
#include "base/file-descriptor.hpp"
#include "base/json.hpp"
#include "store/files/record-file.hpp"

namespace imaged {

namespace {

using nlohmann::json;

}  // namespace

DamageRecord DamageRecord::read(int repository) {
    DamageRecord record;
    const auto directory = open_records(repository, records_directory);
    const auto text = directory ? read_record(directory.get(), damage_record, max_damage_bytes) : std::nullopt;
    if (!text) return record;
    try {
        const auto document = parse_json(*text);
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
    const auto before = all ? std::exchange(entries_, {}) : entries_;
    for (const auto& verdict : verdicts) {
        entries_.erase(verdict.image);
        if (verdict.damage.empty()) {
            const auto known = before.find(verdict.image);
            if (!verdict.unchecked.empty() && known != before.end()) entries_.insert(*known);
            continue;
        }
        const auto more = verdict.damage_count - 1;
        entries_[verdict.image] = {verdict.commit, verdict.damage.front().message +
                                                       (more > 0 ? " (and " + std::to_string(more) + " more)" : "")};
    }
}

void DamageRecord::write(RepositoryWriter& writer) const {
    auto document = json::object();
    for (const auto& [image, entry] : entries_)
        document[image] = {{"commit", entry.commit.hex()}, {"error", entry.error}};
    writer.keep_record(damage_record, entries_.empty() ? "" : json_text(document));
}

const std::string* DamageRecord::error_of(const std::string& image, const Checksum& commit) const {
    const auto found = entries_.find(image);
    return found == entries_.end() || found->second.commit != commit ? nullptr : &found->second.error;
}

}  // namespace imaged
