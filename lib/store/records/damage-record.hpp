// SPDX-License-Identifier: Apache-2.0
// Records the images that the last verification found damaged: listings show it until they are repaired, and no job
// relies on what has wrong content under a right name.
//
// On disk: extensions/imaged/damaged.json, {"IMAGE": {"commit": CHECKSUM, "error": TEXT, "commits": [CHECKSUM, …]}},
// replaced by rename(2). An entry counts for as long as the image's ref names that commit. A file that cannot be read
// counts as empty.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/checksum.hpp"
#include "store/files/repository-writer.hpp"
#include "store/repository/repository.hpp"

namespace imaged {

class DamageRecord {
public:
    struct Entry {
        Checksum commit;
        std::string error;
        // The image's own commit and those of its layers, if they contain a damaged object that is not missing: a pull
        // takes such an object for a sound one.
        std::vector<Checksum> commits;
    };

    // REPOSITORY is the repository's directory. Throws where the system cannot read the record (record-file.hpp).
    static DamageRecord read(int repository);
    // Without ENTRY, IMAGE is not damaged.
    void set(const std::string& image, std::optional<Entry> entry);
    // Forgets all but IMAGES.
    void keep_only(const std::vector<std::string>& images);
    void write(RepositoryWriter& writer) const;

    // Why IMAGE, whose ref names COMMIT, is damaged; null if nothing is known.
    const std::string* error_of(const std::string& image, const Checksum& commit) const;
    // Throws Error(repository_damaged) if one of COMMITS is among those of an entry that counts in REPOSITORY.
    void require_sound(const Repository& repository, const std::vector<Checksum>& commits) const;

    static constexpr const char* path = "extensions/imaged/damaged.json";

private:
    std::map<std::string, Entry> entries_;
};

}  // namespace imaged
