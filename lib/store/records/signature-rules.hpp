// SPDX-License-Identifier: Apache-2.0
// Records the signature rule that each stored image satisfied, for listings only.
//
// On disk: extensions/imaged/rules/HH.json, {"IMAGE": {"COMMIT": "RULE"}}, replaced by rename(2). HH is the first byte
// of a hash (32-bit FNV-1a) of the image's name, so a job reads and writes a small part of the record, however many
// images there are. COMMIT is the merge commit that a pull made or found, so what another program names by the image's
// ref has no rule, whatever that commit says of itself. The current version of an image and those that are kept of it
// have one each, of the pull that was last. An invalid file counts as empty. Jobs that change it run one at
// a time.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <string>

#include "base/checksum.hpp"
#include "base/file-stamp.hpp"

namespace imaged {

// The whole record, for listings. Belongs to one thread; borrows the repository's directory.
class SignatureRules {
public:
    explicit SignatureRules(int repository) : repository_(repository) {}

    // Reads the files that changed since the last time; true if there are any. If the system cannot read one
    // (record-file.hpp), what was known of it holds until the next time.
    bool refresh();
    // Whether refresh() has read another file with the rules of IMAGE since forget().
    bool has_changed(const std::string& image) const;
    // Null where it is not known by which rule COMMIT became IMAGE. Reads the file again after forget(); valid until
    // then.
    const std::string* of(const std::string& image, const Checksum& commit);
    // Gives back the memory that the rules take. Nothing has changed since.
    void forget();

    // By image, as its name is stored, and by merge commit in hexadecimal.
    using Rules = std::map<std::string, std::map<std::string, std::string>>;

private:
    struct File {
        FileStamp stamp;
        std::optional<Rules> rules;  // none: not in memory
        bool changed = false;
    };
    bool refresh(File& file, const std::string& name);

    const int repository_;
    DirectoryStamp directory_;
    std::array<File, 256> files_;  // HH.json
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
