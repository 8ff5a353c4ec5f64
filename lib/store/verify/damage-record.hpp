// SPDX-License-Identifier: Apache-2.0
// Records the images that the last verification found damaged, so that listings show it until they are repaired.
//
// On disk: extensions/imaged/damaged.json, {"IMAGE": {"commit": CHECKSUM, "error": TEXT}}, replaced by rename(2). An
// entry counts for as long as the image's ref names that commit. A file that cannot be read counts as empty.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/checksum.hpp"
#include "store/files/repository-writer.hpp"
#include "store/verify/verify.hpp"

namespace imaged {

class DamageRecord {
public:
    struct Entry {
        Checksum commit;
        std::string error;
    };

    // REPOSITORY is the repository's directory. Throws where the system cannot read the record (record-file.hpp).
    static DamageRecord read(int repository);
    // Takes over what VERDICTS say of their images. With ALL, others are forgotten.
    void update(const std::vector<ImageVerdict>& verdicts, bool all);
    void write(RepositoryWriter& writer) const;

    // Why IMAGE, whose ref names COMMIT, is damaged; null where nothing is known.
    const std::string* error_of(const std::string& image, const Checksum& commit) const;

    static constexpr const char* path = "extensions/imaged/damaged.json";

private:
    std::map<std::string, Entry> entries_;
};

}  // namespace imaged
