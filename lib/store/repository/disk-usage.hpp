// SPDX-License-Identifier: Apache-2.0
// Computes the disk space that removing files frees: their blocks, once the last link to each is gone. A file that a
// deployment or another repository shares by a hard link gives back nothing.
//
// Directories are not counted: file systems differ in whether they ever shrink.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <utility>

namespace imaged {

class DiskUsage {
public:
    // Counts the removal of one link to the file with STATUS.
    void remove(const struct stat& status);
    // Counts the removal of the file or directory tree NAME in DIRECTORY; has no effect if it does not exist.
    void remove(int directory, const std::string& name);

    // Counts a small new file on the file system of DIRECTORY.
    void add_block(int directory);

    std::uint64_t bytes() const { return bytes_ > added_ ? bytes_ - added_ : 0; }

private:
    std::uint64_t bytes_ = 0, added_ = 0;
    std::map<std::pair<dev_t, ino_t>, nlink_t> links_;  // of files with several: how many stay
};

}  // namespace imaged
