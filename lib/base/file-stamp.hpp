// SPDX-License-Identifier: Apache-2.0
// Finds out whether a file or a directory has changed without reading it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <ctime>
#include <string>

namespace imaged {

std::int64_t in_nanoseconds(const timespec& time);
// Returns the time of the clock that file systems use.
std::int64_t now_in_nanoseconds();
// Whether a file whose modification or change time is TIME now, in nanoseconds, gets another one by a later change:
// times of files tick with the kernel's timer, a few milliseconds apart, and on some file systems once a second, so two
// changes within a tick look like one.
bool is_settled(std::int64_t time);

// A file that is replaced as a whole has not changed if its stamp is the same.
struct FileStamp {
    std::uint64_t inode = 0, size = 0;
    std::int64_t changed = 0;  // nanoseconds; the change time, which nobody can set

    // Returns the stamp of PATH itself, below the directory PLACE; all zero if it cannot be looked at.
    static FileStamp of(int place, const std::string& path);
    bool operator==(const FileStamp&) const = default;
};

// Whether the names in a directory, and the files that have them, may have changed: a name that is made, removed, or
// moved to another file shows in the change time of the directory, which nobody can set. Writing into a file does not.
class DirectoryStamp {
public:
    // Looks at PATH below the directory PLACE, or at the target of a symbolic link there. Returns true if there may
    // have been a change since the last time; the caller then reads the directory, and calls distrust() if it cannot.
    // Throws a system error, except if there is no such directory.
    bool refresh(int place, const std::string& path);
    // Whether it was there.
    bool exists() const { return inode_ != 0; }
    // The next refresh() returns true, if the directory exists.
    void distrust() { settled_ = false; }

private:
    ino_t inode_ = 0;
    std::int64_t changed_ = 0;  // nanoseconds
    bool settled_ = false;
};

}  // namespace imaged
