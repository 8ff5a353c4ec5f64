// SPDX-License-Identifier: Apache-2.0
#include "base/file-descriptor.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "base/error.hpp"

namespace imaged {

void FileDescriptor::reset(int fd) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = fd;
}

DescriptorPair make_pipe() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) throw_errno("pipe");
    return {FileDescriptor(ends[0]), FileDescriptor(ends[1])};
}

FileDescriptor open_at(int directory, const std::string& path, int flags, unsigned mode) {
    FileDescriptor fd(::openat(directory, path.c_str(), flags | O_CLOEXEC, mode));
    if (!fd) throw_errno("open " + path);
    return fd;
}

FileDescriptor try_open_at(int directory, const std::string& path, int flags) {
    FileDescriptor fd(::openat(directory, path.c_str(), flags | O_CLOEXEC));
    if (!fd && errno != ENOENT) throw_errno("open " + path);
    return fd;
}

void require_file(int fd, const std::string& path) {
    struct stat status;
    if (::fstat(fd, &status) != 0) throw_errno("look at " + path);
    const bool is_null = S_ISCHR(status.st_mode) && status.st_rdev == makedev(1, 3);
    if (!S_ISREG(status.st_mode) && !is_null)
        throw Error(ErrorKind::failed, "open " + path + ": it is no regular file");
}

FileDescriptor open_file(int directory, const std::string& path, int flags) {
    auto file = open_at(directory, path, flags | O_RDONLY | O_NONBLOCK | O_NOCTTY);
    require_file(file.get(), path);
    return file;
}

FileDescriptor try_open_file(int directory, const std::string& path, int flags) {
    auto file = try_open_at(directory, path, flags | O_RDONLY | O_NONBLOCK | O_NOCTTY);
    if (file) require_file(file.get(), path);
    return file;
}

bool leads_to(int directory, const std::string& path, int fd) {
    struct stat named, open;
    return ::fstatat(directory, path.c_str(), &named, 0) == 0 && ::fstat(fd, &open) == 0 &&
           named.st_dev == open.st_dev && named.st_ino == open.st_ino;
}

void write_all(int fd, std::span<const std::byte> bytes, const std::string& what) {
    while (!bytes.empty()) {
        const ssize_t written = ::write(fd, bytes.data(), bytes.size());
        if (written < 0) {
            if (errno == EINTR) continue;
            throw_errno("write " + what);
        }
        bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
}

std::string read_all(int fd, std::size_t limit, const std::string& what) {
    std::string text;
    char buffer[16384];
    for (;;) {
        const ssize_t count = ::read(fd, buffer, sizeof buffer);
        if (count < 0) {
            if (errno == EINTR) continue;
            throw_errno("read " + what);
        }
        if (count == 0) return text;
        text.append(buffer, static_cast<std::size_t>(count));
        if (text.size() > limit)
            throw Error(ErrorKind::corrupt_input,
                        what + " is larger than the limit of " + std::to_string(limit) + " bytes");
    }
}

namespace {

// Calls VISIT with each name in DIRECTORY.
template <typename Visit>
void each_name(int directory, const std::string& name, Visit&& visit) {
    const int raw = ::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (raw < 0) throw_errno("read directory " + name);
    const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(raw), ::closedir);
    if (!stream) {
        ::close(raw);
        throw_errno("read directory " + name);
    }
    while (const dirent* entry = ::readdir(stream.get())) {
        if (std::strcmp(entry->d_name, ".") != 0 && std::strcmp(entry->d_name, "..") != 0) visit(entry->d_name);
    }
}

// False for a directory that is not empty.
bool remove_entry(int directory, const char* name) {
    if (::unlinkat(directory, name, 0) == 0 || errno == ENOENT) return true;
    if (errno != EISDIR && errno != EPERM) throw_errno(std::string("remove ") + name);
    if (::unlinkat(directory, name, AT_REMOVEDIR) == 0 || errno == ENOENT) return true;
    if (errno != ENOTEMPTY && errno != EEXIST) throw_errno(std::string("remove directory ") + name);
    return false;
}

// False where something has the new name.
bool move_up(int from, const char* name, int to, const std::string& new_name) {
    if (::renameat2(from, name, to, new_name.c_str(), RENAME_NOREPLACE) == 0) return true;
    if (errno == EEXIST) return false;
    // A file system without the flag (NFS).
    if ((errno == EINVAL || errno == ENOSYS) && ::renameat(from, name, to, new_name.c_str()) == 0) return true;
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
        each_name(top.get(), name, [&](const char* entry) {
            if (check) check();
            if (remove_entry(top.get(), entry)) return;
            again = true;
            const auto inner = open_inner(top.get(), entry);
            each_name(inner.get(), entry, [&](const char* deeper) {
                if (check) check();
                if (remove_entry(inner.get(), deeper)) return;
                while (!move_up(inner.get(), deeper, top.get(), ".moved-" + std::to_string(moved++))) {
                }
            });
        });
    }
    if (::unlinkat(directory, name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT)
        throw_errno("remove directory " + name);
}

}  // namespace imaged
