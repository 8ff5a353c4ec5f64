// SPDX-License-Identifier: Apache-2.0
#include "base/file-descriptor.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "base/error.hpp"

namespace imaged {

void FileDescriptor::reset(int fd) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = fd;
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

void remove_tree(int directory, const std::string& name) {
    if (::unlinkat(directory, name.c_str(), 0) == 0 || errno == ENOENT) return;
    if (errno != EISDIR && errno != EPERM) throw_errno("remove " + name);
    FileDescriptor inner(::openat(directory, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!inner) throw_errno("open " + name);
    const int raw = ::fcntl(inner.get(), F_DUPFD_CLOEXEC, 0);
    if (raw < 0) throw_errno("duplicate " + name);
    const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(raw), ::closedir);
    if (!stream) {
        ::close(raw);
        throw_errno("read directory " + name);
    }
    while (const dirent* entry = ::readdir(stream.get())) {
        if (std::strcmp(entry->d_name, ".") != 0 && std::strcmp(entry->d_name, "..") != 0)
            remove_tree(inner.get(), entry->d_name);
    }
    if (::unlinkat(directory, name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT)
        throw_errno("remove directory " + name);
}

}  // namespace imaged
