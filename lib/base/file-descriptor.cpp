// SPDX-License-Identifier: Apache-2.0
#include "base/file-descriptor.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>

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

void widen_pipe(const FileDescriptor& pipe) {
    constexpr int most = 1024 * 1024;  // that Linux lets an unprivileged process have
    ::fcntl(pipe.get(), F_SETPIPE_SZ, most);
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

FileDescriptor memory_file(const std::string& name, std::string_view text) {
    FileDescriptor file(::memfd_create(name.c_str(), MFD_CLOEXEC));
    if (!file) throw_errno("memfd_create");
    write_all(file.get(), std::as_bytes(std::span(text)), name);
    return file;
}

std::string path_of_descriptor(int fd) {
    return "/proc/self/fd/" + std::to_string(fd);
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
    if (::fstatat(directory, path.c_str(), &named, 0) != 0) {
        if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP) return false;
        throw_errno("look at " + path);
    }
    return ::fstat(fd, &open) == 0 && named.st_dev == open.st_dev && named.st_ino == open.st_ino;
}

bool is_readable(int fd, int milliseconds) {
    pollfd ready{fd, POLLIN, 0};
    return ::poll(&ready, 1, milliseconds) > 0;
}

bool is_hung_up(int fd, int milliseconds) {
    pollfd end{fd, 0, 0};
    return ::poll(&end, 1, milliseconds) > 0;
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

void write_to_stderr(std::string_view text) noexcept {
    while (!text.empty()) {
        const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return;
        text.remove_prefix(static_cast<std::size_t>(written));
    }
}

std::size_t read_at(int fd, std::uint64_t offset, std::span<std::byte> buffer, std::string_view what) {
    std::size_t done = 0;
    while (done < buffer.size()) {
        const auto count = ::pread(fd, buffer.data() + done, buffer.size() - done, static_cast<off_t>(offset + done));
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) throw_errno("read " + std::string(what));
        if (count == 0) break;
        done += static_cast<std::size_t>(count);
    }
    return done;
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

}  // namespace imaged
