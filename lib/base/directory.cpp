// SPDX-License-Identifier: Apache-2.0
#include "base/directory.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <memory>
#include <string_view>

#include "base/error.hpp"

namespace imaged {

void visit_directory(FileDescriptor directory, const std::string& name,
                     const std::function<void(const DirectoryEntry&)>& visit) {
    if (!directory) return;
    const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(directory.get()), ::closedir);
    if (!stream) throw_errno("list " + name);
    const int raw = directory.release();
    for (;;) {
        errno = 0;
        const dirent* const entry = ::readdir(stream.get());
        if (entry == nullptr && errno != 0) throw_errno("list " + name);
        if (entry == nullptr) return;
        const std::string_view text(entry->d_name);
        if (text == "." || text == "..") continue;
        struct stat status {};
        const bool unknown = entry->d_type == DT_UNKNOWN;
        if (unknown && ::fstatat(raw, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0 && errno != ENOENT)
            throw_errno("look at " + name + "/" + entry->d_name);
        visit({raw, entry->d_name, unknown ? S_ISDIR(status.st_mode) : entry->d_type == DT_DIR,
               unknown ? S_ISLNK(status.st_mode) : entry->d_type == DT_LNK});
    }
}

bool exists(int directory, const std::string& path) {
    struct stat status;
    return ::fstatat(directory, path.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0;
}

int rename_without_replacing(int from, const char* name, int to, const char* new_name) {
    if (::renameat2(from, name, to, new_name, RENAME_NOREPLACE) == 0) return 0;
    if (errno != EINVAL && errno != ENOSYS) return -1;
    if (::linkat(from, name, to, new_name, 0) == 0) {
        ::unlinkat(from, name, 0);
        return 0;
    }
    if (errno != EPERM) return -1;
    // A directory has one name. Anything else stays where it is: it would replace a file.
    struct stat status;
    if (::fstatat(from, name, &status, AT_SYMLINK_NOFOLLOW) != 0) return -1;
    if (S_ISDIR(status.st_mode)) return ::renameat(from, name, to, new_name);
    errno = EPERM;
    return -1;
}

namespace {

// False for a directory that is not empty.
bool remove_entry(int directory, const char* name) {
    if (::unlinkat(directory, name, 0) == 0 || errno == ENOENT) return true;
    if (errno != EISDIR && errno != EPERM) throw_errno(std::string("remove ") + name);
    if (::unlinkat(directory, name, AT_REMOVEDIR) == 0 || errno == ENOENT) return true;
    if (errno != ENOTEMPTY && errno != EEXIST) throw_errno(std::string("remove directory ") + name);
    return false;
}

// False if something has the new name.
bool move_up(int from, const char* name, int to, const std::string& new_name) {
    if (rename_without_replacing(from, name, to, new_name.c_str()) == 0) return true;
    if (errno != EEXIST && errno != ENOTEMPTY && errno != ENOTDIR) throw_errno(std::string("move ") + name);
    return false;
}

FileDescriptor open_inner(int directory, const std::string& name) {
    return open_at(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
}

}  // namespace

// Without recursion, as the depth may be anybody's: what lies deeper than one level is moved up first.
void remove_tree(int directory, const std::string& name, const std::function<void()>& check) {
    if (remove_entry(directory, name.c_str())) return;
    const auto top = open_inner(directory, name);
    unsigned long moved = 0;
    for (bool again = true; again;) {
        again = false;
        visit_directory(open_inner(top.get(), "."), name, [&](const DirectoryEntry& entry) {
            if (check) check();
            if (remove_entry(top.get(), entry.name)) return;
            again = true;
            visit_directory(open_inner(top.get(), entry.name), entry.name, [&](const DirectoryEntry& deeper) {
                if (check) check();
                if (remove_entry(deeper.directory, deeper.name)) return;
                while (!move_up(deeper.directory, deeper.name, top.get(), ".moved-" + std::to_string(moved++))) {
                }
            });
        });
    }
    if (::unlinkat(directory, name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT)
        throw_errno("remove directory " + name);
}

}  // namespace imaged
