// SPDX-License-Identifier: Apache-2.0
// Caches the listing of images on disk for the next process: a first list spends most of its time on two JSON documents
// of each image.
//
// On disk: extensions/imaged/listing, a file of this machine and this version of imaged, with a checksum; replaced by
// rename(2) by the process that lists. It is a hint: an entry counts only for the same file of the same commit, by
// inode, size and change time. A file that is damaged, of another version, or not imaged's (record-file.hpp) counts as
// absent, and so does each entry of a commit that was written again, restored or copied.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/checksum.hpp"
#include "base/file-stamp.hpp"
#include "oci/layout.hpp"

namespace imaged {

struct KnownEntry {
    struct Layer {
        Checksum blob;
        LayerKind kind;
    };
    std::string text;  // the caller's
    Checksum tree;     // of the merged root
    FileStamp stamp;   // of the commit
    std::vector<Layer> layers;
};

using KnownEntries = std::unordered_map<Checksum, KnownEntry>;  // by merge commit

// Empty if there is no usable file. REPOSITORY is the repository's directory.
KnownEntries read_known_entries(int repository) noexcept;
// An entry of COMMIT whose text is TEXT, and not in ENTRY.
struct KnownText {
    Checksum commit;
    const KnownEntry* entry;
    std::string_view text;
};
// Failures to write are ignored.
void write_known_entries(int repository, const std::vector<KnownText>& entries) noexcept;

}  // namespace imaged
