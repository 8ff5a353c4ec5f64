// SPDX-License-Identifier: Apache-2.0
// Records the signature rule that each stored image satisfied, for listings only.
//
// On disk: extensions/imaged/rules/HH.json (image-records.hpp), {"IMAGE": {"COMMIT": "RULE"}}. COMMIT is the merge
// commit that a pull made or found, so what another program names by the image's ref has no rule, whatever that commit
// says of itself. The current version of an image and those that are kept of it have one each, of the pull that was
// last.
#pragma once

#include <map>
#include <string>

#include "base/checksum.hpp"
#include "store/records/image-records.hpp"

namespace imaged {

// The whole record, for listings, as ImageRecords. Belongs to one thread; borrows the repository's directory.
class SignatureRules {
public:
    explicit SignatureRules(int repository);

    bool refresh() { return records_.refresh(); }
    bool has_changed(const std::string& image) const { return records_.has_changed(image); }
    // Null where it is not known by which rule COMMIT became IMAGE. Valid until forget().
    const std::string* of(const std::string& image, const Checksum& commit);
    void forget() { records_.forget(); }

    // Rules by merge commit in hexadecimal.
    using Versions = std::map<std::string, std::string>;

private:
    ImageRecords<Versions> records_;
};

// The path of the file with the rules of IMAGE.
std::string signature_rules_path(const std::string& image);

// Whether RULE need not be noted: it is there already, or what is there cannot be read. REPOSITORY is the repository's
// directory.
bool is_signature_rule_noted(int repository, const std::string& image, const Checksum& commit, const std::string& rule);
// Notes that RULE let COMMIT in as IMAGE, whose ref is REF, and forgets the rules of versions that are not kept any
// more. What cannot be written is not, nor a rule of more than max_signature_rule (repository-writer.hpp): it is
// unknown.
void note_signature_rule(int repository, const std::string& image, const std::string& ref, const Checksum& commit,
                         const std::string& rule) noexcept;
// Forgets all rules of IMAGE.
void forget_signature_rules(int repository, const std::string& image) noexcept;

}  // namespace imaged
