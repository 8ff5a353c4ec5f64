// SPDX-License-Identifier: Apache-2.0
// Records the signature rule that each stored image satisfied, for listings only.
//
// On disk: extensions/imaged/rules.json, {"IMAGE": {"COMMIT": "RULE"}}, replaced by rename(2). COMMIT is the merge
// commit that a pull made or found, so what another program names by the image's ref has no rule, whatever that commit
// says of itself. The current version of an image and those that are kept of it have one each, of the pull that was
// last. A file with nonsense in it counts as empty. Jobs that change it run one at a time.
#pragma once

#include <map>
#include <string>

#include "base/checksum.hpp"

namespace imaged {

inline constexpr const char* signature_rules_path = "extensions/imaged/rules.json";

// By image, as its name is stored, and by merge commit in hexadecimal.
using SignatureRules = std::map<std::string, std::map<std::string, std::string>>;

// REPOSITORY is the repository's directory. Throws where the system cannot read the file (record-file.hpp).
SignatureRules read_signature_rules(int repository);
// Null where it is not known by which rule COMMIT became IMAGE.
const std::string* rule_of(const SignatureRules& rules, const std::string& image, const Checksum& commit);

// Whether RULE need not be noted: it is there already, or what is there cannot be read.
bool is_signature_rule_noted(int repository, const std::string& image, const Checksum& commit, const std::string& rule);
// Notes that RULE let COMMIT in as IMAGE, whose ref is REF, and forgets the rules of versions that are not kept any
// more. What cannot be written is not, nor a rule of more than max_signature_rule (repository-writer.hpp): it is
// unknown.
void note_signature_rule(int repository, const std::string& image, const std::string& ref, const Checksum& commit,
                         const std::string& rule) noexcept;
// Forgets all rules of IMAGE.
void forget_signature_rules(int repository, const std::string& image) noexcept;

}  // namespace imaged
