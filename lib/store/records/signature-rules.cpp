// SPDX-License-Identifier: Apache-2.0
#include "store/records/signature-rules.hpp"

#include <cstdint>
#include <exception>
#include <set>

#include "base/error.hpp"
#include "base/file-descriptor.hpp"
#include "base/json.hpp"
#include "store/files/kept-ref.hpp"
#include "store/files/record-file.hpp"
#include "store/files/repository-writer.hpp"

namespace imaged {

namespace {

using Rules = SignatureRules::Rules;

// Of some ten thousand images.
constexpr std::size_t max_rules_bytes = 16 * 1024 * 1024;
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

Rules read(int repository, const std::string& name) {
    const auto place = open_records(repository, rules_directory);
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

}  // namespace

bool SignatureRules::refresh() {
    if (!directory_.refresh(repository_, rules_directory)) return false;
    bool changed = false;
    for (std::size_t i = 0; i < files_.size(); ++i)
        changed |= refresh(files_[i], file_name(static_cast<unsigned char>(i)));
    return changed;
}

bool SignatureRules::refresh(File& file, const std::string& name) {
    const auto stamp = FileStamp::of(repository_, std::string(rules_directory) + "/" + name);
    if (stamp == file.stamp) return false;
    try {
        file.rules = read(repository_, name);
    } catch (const Error&) {
        directory_.distrust();
        return false;
    }
    file.stamp = stamp;
    file.changed = true;
    return true;
}

bool SignatureRules::has_changed(const std::string& image) const {
    return files_[file_number(image)].changed;
}

const std::string* SignatureRules::of(const std::string& image, const Checksum& commit) {
    auto& file = files_[file_number(image)];
    if (!file.rules) {
        if (file.stamp == FileStamp()) return nullptr;
        try {
            file.rules = read(repository_, file_name(file_number(image)));
        } catch (const Error&) {
            directory_.distrust();
            file.stamp = {};
            return nullptr;
        }
    }
    return find(*file.rules, image, commit);
}

void SignatureRules::forget() {
    for (auto& file : files_) {
        file.rules.reset();
        file.changed = false;
    }
}

std::string signature_rules_path(const std::string& image) {
    return std::string(rules_directory) + "/" + file_name(file_number(image));
}

bool is_signature_rule_noted(int repository, const std::string& image, const Checksum& commit,
                             const std::string& rule) {
    if (rule.empty() || rule.size() > max_signature_rule) return true;
    try {
        const auto rules = read(repository, file_name(file_number(image)));
        const auto* const noted = find(rules, image, commit);
        return noted != nullptr && *noted == rule;
    } catch (const std::exception&) {
        return true;
    }
}

void note_signature_rule(int repository, const std::string& image, const std::string& ref, const Checksum& commit,
                         const std::string& rule) noexcept {
    try {
        if (rule.empty() || rule.size() > max_signature_rule) return;
        const auto number = file_number(image);
        auto rules = read(repository, file_name(number));
        if (const auto* const before = find(rules, image, commit); before != nullptr && *before == rule) return;
        std::set<std::string> versions;
        for (const auto& kept : kept_refs(repository, ref)) {
            if (kept.commit) versions.insert(kept.commit->hex());
        }
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
        const auto number = file_number(image);
        auto rules = read(repository, file_name(number));
        if (rules.erase(image) == 0) return;
        if (const auto place = open_records(repository, rules_directory)) write(place.get(), number, rules);
    } catch (const std::exception&) {
        // As the header says.
    }
}

}  // namespace imaged
