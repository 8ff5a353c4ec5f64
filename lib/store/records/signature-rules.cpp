// SPDX-License-Identifier: Apache-2.0
#include "store/records/signature-rules.hpp"

#include <unistd.h>

#include <cstdint>
#include <exception>
#include <set>

#include "base/error.hpp"
#include "base/file-descriptor.hpp"
#include "base/json.hpp"
#include "store/repository/kept-ref.hpp"
#include "store/repository/repository-writer.hpp"

namespace imaged {

namespace {

using Rules = SignatureRules::Rules;

// Of some ten thousand images.
constexpr std::size_t max_rules_bytes = 16 * 1024 * 1024;
constexpr const char *earlier_directory = "extensions/imaged", *earlier_file = "rules.json";
constexpr const char* rules_directory = "extensions/imaged/rules";

std::string file_name(unsigned char number) {
    constexpr const char* digits = "0123456789abcdef";
    return {digits[number >> 4U], digits[number & 0xFU], '.', 'j', 's', 'o', 'n'};
}

// FNV-1a: a listing asks for each image.
unsigned char file_number(const std::string& image) {
    std::uint32_t hash = 2166136261U;
    for (const char c : image) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619U;
    return static_cast<unsigned char>(hash >> 24U);
}

Rules parse(const std::string& text) {
    try {
        return parse_json(text).get<Rules>();
    } catch (const std::exception&) {
        return {};
    }
}

Rules read(int repository, const std::string& directory, const std::string& name) {
    const auto place = open_records(repository, directory);
    const auto text = place ? read_record(place.get(), name, max_rules_bytes) : std::nullopt;
    return text ? parse(*text) : Rules();
}

const std::string* find(const Rules& rules, const std::string& image, const Checksum& commit) {
    const auto versions = rules.find(image);
    if (versions == rules.end()) return nullptr;
    const auto found = versions->second.find(commit.hex());
    return found == versions->second.end() ? nullptr : &found->second;
}

void write(int place, unsigned char number, const Rules& rules) {
    write_record(place, file_name(number), json_text(nlohmann::json(rules)));
}

// Does for the record of an earlier version what the header says. If this is interrupted, the next job repeats it.
void spread_earlier(int repository) {
    const auto earlier = open_records(repository, earlier_directory);
    const auto text = earlier ? read_record(earlier.get(), earlier_file, max_rules_bytes) : std::nullopt;
    if (!text) return;
    std::map<unsigned char, Rules> files;
    for (auto& [image, versions] : parse(*text)) files[file_number(image)][image] = versions;
    const auto place = make_records(repository, rules_directory);
    if (!place) return;
    for (auto& [number, rules] : files) {
        for (auto& [image, versions] : read(repository, rules_directory, file_name(number)))
            rules[image].merge(std::move(versions));
        write(place.get(), number, rules);
    }
    if (::syncfs(place.get()) != 0) throw_errno("sync the rules");
    if (::unlinkat(earlier.get(), earlier_file, 0) != 0) throw_errno("remove the earlier rules");
}

}  // namespace

bool SignatureRules::refresh() {
    // The earlier file first: it is removed when all that it held is in the others.
    bool changed = refresh(earlier_, earlier_directory, earlier_file);
    for (std::size_t i = 0; i < files_.size(); ++i)
        changed |= refresh(files_[i], rules_directory, file_name(static_cast<unsigned char>(i)));
    return changed;
}

bool SignatureRules::refresh(File& file, const std::string& directory, const std::string& name) const {
    const auto stamp = record_stamp(repository_, directory + "/" + name);
    if (stamp == file.stamp) return false;
    try {
        file.rules = read(repository_, directory, name);
    } catch (const Error&) {
        return false;
    }
    file.stamp = stamp;
    return true;
}

const std::string* SignatureRules::of(const std::string& image, const Checksum& commit) const {
    if (const auto* const rule = find(earlier_.rules, image, commit)) return rule;
    return find(files_[file_number(image)].rules, image, commit);
}

std::string signature_rules_path(const std::string& image) {
    return std::string(rules_directory) + "/" + file_name(file_number(image));
}

bool is_signature_rule_noted(int repository, const std::string& image, const Checksum& commit,
                             const std::string& rule) {
    if (rule.empty() || rule.size() > max_signature_rule) return true;
    try {
        const auto is_noted = [&](const Rules& rules, bool otherwise) {
            const auto* const noted = find(rules, image, commit);
            return noted == nullptr ? otherwise : *noted == rule;
        };
        const auto earlier = read(repository, earlier_directory, earlier_file);
        const auto rules = read(repository, rules_directory, file_name(file_number(image)));
        return is_noted(earlier, is_noted(rules, false));
    } catch (const std::exception&) {
        return true;
    }
}

void note_signature_rule(int repository, const std::string& image, const std::string& ref, const Checksum& commit,
                         const std::string& rule) noexcept {
    try {
        if (rule.empty() || rule.size() > max_signature_rule) return;
        spread_earlier(repository);
        const auto number = file_number(image);
        auto rules = read(repository, rules_directory, file_name(number));
        if (const auto* const before = find(rules, image, commit); before != nullptr && *before == rule) return;
        std::set<std::string> versions;
        for (const auto& kept : kept_refs(repository, ref)) versions.insert(kept.commit.hex());
        auto& noted = rules[image];
        std::erase_if(noted, [&](const auto& version) { return !versions.contains(version.first); });
        noted[commit.hex()] = rule;
        if (const auto place = make_records(repository, rules_directory)) write(place.get(), number, rules);
    } catch (const std::exception&) {
        // As the header says.
    }
}

void forget_signature_rules(int repository, const std::string& image) noexcept {
    try {
        spread_earlier(repository);
        const auto number = file_number(image);
        auto rules = read(repository, rules_directory, file_name(number));
        if (rules.erase(image) == 0) return;
        if (const auto place = open_records(repository, rules_directory)) write(place.get(), number, rules);
    } catch (const std::exception&) {
        // As the header says.
    }
}

}  // namespace imaged
