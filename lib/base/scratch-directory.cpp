// SPDX-License-Identifier: Apache-2.0
#include "base/scratch-directory.hpp"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>

#include "base/directory.hpp"
#include "base/error.hpp"

namespace imaged {

namespace {

constexpr std::string_view prefix = "imaged-job-";
constexpr const char* default_parent = "/var/tmp";
// Before it is locked, another process that clears leftovers may take a new directory for one.
constexpr unsigned max_attempts = 100;

bool is_named(const FileDescriptor& directory, int parent, const char* name) {
    struct stat opened, named;
    return ::fstat(directory.get(), &opened) == 0 && ::fstatat(parent, name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
           opened.st_dev == named.st_dev && opened.st_ino == named.st_ino && opened.st_uid == ::geteuid();
}

// Removes NAME if nobody holds its lock, which is held meanwhile.
void clear(int parent, const char* name) {
    const FileDescriptor directory(::openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!directory || ::flock(directory.get(), LOCK_EX | LOCK_NB) != 0 || !is_named(directory, parent, name)) return;
    remove_tree(parent, name);
}

}  // namespace

ScratchDirectory::ScratchDirectory() {
    const auto pattern = (parent() / (std::string(prefix) + "XXXXXX")).string();
    for (unsigned attempt = 0; attempt < max_attempts; ++attempt) {
        auto path = pattern;
        if (::mkdtemp(path.data()) == nullptr) throw_errno("make the temporary directory " + pattern);
        lock_.reset(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        // Without locks, no process takes it for a leftover.
        const bool locked = lock_ && (::flock(lock_.get(), LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK);
        if (!locked || !is_named(lock_, AT_FDCWD, path.c_str())) continue;
        path_ = path;
        return;
    }
    throw Error(ErrorKind::failed, "other programs keep removing temporary directories from " + parent().string());
}

ScratchDirectory::~ScratchDirectory() {
    if (!lock_) return;
    try {
        remove_tree(AT_FDCWD, path_.string());
    } catch (const Error&) {
        // The next job tries again.
    }
}

std::filesystem::path ScratchDirectory::parent() {
    const char* named = std::getenv("TMPDIR");
    return named != nullptr && *named == '/' ? named : default_parent;
}

void ScratchDirectory::clear_leftovers() noexcept {
    try {
        const auto path = parent().string();
        visit_directory(open_at(AT_FDCWD, path, O_RDONLY | O_DIRECTORY), path, [](const DirectoryEntry& entry) {
            if (!std::string_view(entry.name).starts_with(prefix)) return;
            try {
                clear(entry.directory, entry.name);
            } catch (const Error&) {
                // Others may be removed all the same.
            }
        });
    } catch (const std::exception&) {
        // The next job tries again.
    }
}

}  // namespace imaged
