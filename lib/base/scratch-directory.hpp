// SPDX-License-Identifier: Apache-2.0
// A temporary directory outside of the repository, for archives that skopeo unpacks and layouts that it reads or
// writes.
//
// It lies in $TMPDIR, or /var/tmp, because it may hold a whole image, and is named imaged-job-XXXXXX. Its process holds
// an flock(2) on it; a directory that no process locks is left over from one that was killed, and the next job removes
// it.
#pragma once

#include <filesystem>

#include "base/file-descriptor.hpp"

namespace imaged {

class ScratchDirectory {
public:
    // Throws Error(no_space) or Error(failed).
    ScratchDirectory();
    // Removes it with all that is in it.
    ~ScratchDirectory();
    ScratchDirectory& operator=(ScratchDirectory&&) = delete;

    const std::filesystem::path& path() const { return path_; }
    // The descriptor that holds the lock: also after a fork, as long as either process has it open.
    int lock() const { return lock_.get(); }
    // In a child of the process that made it: nothing is removed, and the lock is the parent's alone.
    void leave_to_parent() { lock_.reset(); }

    // The directory that all of them lie in.
    static std::filesystem::path parent();
    // Removes those of this user that no process locks. Never throws: what cannot be removed stays for the next job.
    static void clear_leftovers() noexcept;

private:
    std::filesystem::path path_;
    FileDescriptor lock_;
};

}  // namespace imaged
