// SPDX-License-Identifier: Apache-2.0
#include "store/records/signature-rules.hpp"

#include <exception>
#include <set>

#include "store/files/kept-ref.hpp"
#include "store/files/repository-writer.hpp"

namespace imaged {

namespace {

using RuleRecords = ImageRecords<SignatureRules::Versions>;

constexpr const char* rules_directory = "extensions/imaged/rules";

const std::string* find(const SignatureRules::Versions* versions, const Checksum& commit) {
    if (versions == nullptr) return nullptr;
    const auto found = versions->find(commit.hex());
    return found == versions->end() ? nullptr : &found->second;
}

const std::string* find(const RuleRecords::Values& rules, const std::string& image, const Checksum& commit) {
    const auto versions = rules.find(image);
    return versions == rules.end() ? nullptr : find(&versions->second, commit);
}

RuleRecords::Values read_rules(int repository, const std::string& image) {
    return RuleRecords::read(repository, rules_directory, image_record_number(image));
}

// Those of IMAGE and of the others in its file.
void write_rules(int repository, const std::string& image, const RuleRecords::Values& rules) {
    RuleRecords::write(repository, rules_directory, image_record_number(image), rules, Durability::later);
}

}  // namespace

SignatureRules::SignatureRules(int repository) : records_(repository, rules_directory) {}

const std::string* SignatureRules::of(const std::string& image, const Checksum& commit) {
    return find(records_.of(image), commit);
}

std::string signature_rules_path(const std::string& image) {
    return std::string(rules_directory) + "/" + image_record_name(image_record_number(image));
}

bool is_signature_rule_noted(int repository, const std::string& image, const Checksum& commit,
                             const std::string& rule) {
    if (rule.empty() || rule.size() > max_signature_rule) return true;
    try {
        const auto rules = read_rules(repository, image);
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
        const auto lock = lock_image_records(repository);
        auto rules = read_rules(repository, image);
        if (const auto* const before = find(rules, image, commit); before != nullptr && *before == rule) return;
        std::set<std::string> versions;
        for (const auto& kept : kept_refs(repository, ref)) {
            if (kept.commit) versions.insert(kept.commit->hex());
        }
        auto& noted = rules[image];
        std::erase_if(noted, [&](const auto& version) { return !versions.contains(version.first); });
        noted[commit.hex()] = rule;
        write_rules(repository, image, rules);
    } catch (const std::exception&) {
        // As the header says.
    }
}

void forget_signature_rules(int repository, const std::string& image) noexcept {
    try {
        const auto lock = lock_image_records(repository);
        auto rules = read_rules(repository, image);
        if (rules.erase(image) > 0) write_rules(repository, image, rules);
    } catch (const std::exception&) {
        // As the header says.
    }
}

}  // namespace imaged
