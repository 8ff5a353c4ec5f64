// SPDX-License-Identifier: Apache-2.0
#include "store/records/signature-rules.hpp"

#include <exception>
#include <set>

#include "base/error.hpp"
#include "base/file-descriptor.hpp"
#include "base/json.hpp"
#include "store/repository/kept-ref.hpp"
#include "store/repository/record-file.hpp"
#include "store/repository/repository-writer.hpp"

namespace imaged {

namespace {

// Of some ten thousand images.
constexpr std::size_t max_rules_bytes = 16 * 1024 * 1024;
constexpr const char* rules_directory = "extensions/imaged";
constexpr const char* rules_file = "rules.json";

void write(int repository, const SignatureRules& rules) {
    if (const auto directory = make_records(repository, rules_directory))
        write_record(directory.get(), rules_file, json_text(nlohmann::json(rules)));
}

}  // namespace

SignatureRules read_signature_rules(int repository) {
    const auto directory = open_records(repository, rules_directory);
    const auto text = directory ? read_record(directory.get(), rules_file, max_rules_bytes) : std::nullopt;
    if (!text) return {};
    try {
        return parse_json(*text).get<SignatureRules>();
    } catch (const std::exception&) {
        return {};
    }
}

const std::string* rule_of(const SignatureRules& rules, const std::string& image, const Checksum& commit) {
    const auto versions = rules.find(image);
    if (versions == rules.end()) return nullptr;
    const auto found = versions->second.find(commit.hex());
    return found == versions->second.end() ? nullptr : &found->second;
}

bool is_signature_rule_noted(int repository, const std::string& image, const Checksum& commit,
                             const std::string& rule) {
    if (rule.empty() || rule.size() > max_signature_rule) return true;
    try {
        const auto rules = read_signature_rules(repository);
        const auto* const noted = rule_of(rules, image, commit);
        return noted != nullptr && *noted == rule;
    } catch (const std::exception&) {
        return true;
    }
}

void note_signature_rule(int repository, const std::string& image, const std::string& ref, const Checksum& commit,
                         const std::string& rule) noexcept {
    try {
        if (rule.empty() || rule.size() > max_signature_rule) return;
        auto rules = read_signature_rules(repository);
        if (const auto* const before = rule_of(rules, image, commit); before != nullptr && *before == rule) return;
        std::set<std::string> versions;
        for (const auto& kept : kept_refs(repository, ref)) versions.insert(kept.commit.hex());
        auto& noted = rules[image];
        std::erase_if(noted, [&](const auto& version) { return !versions.contains(version.first); });
        noted[commit.hex()] = rule;
        write(repository, rules);
    } catch (const std::exception&) {
        // As the header says.
    }
}

void forget_signature_rules(int repository, const std::string& image) noexcept {
    try {
        auto rules = read_signature_rules(repository);
        if (rules.erase(image) > 0) write(repository, rules);
    } catch (const std::exception&) {
        // As the header says.
    }
}

}  // namespace imaged
