// SPDX-License-Identifier: Apache-2.0
// RAII for file descriptors, and loops around read(2) and write(2).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace imaged {

// Owns one file descriptor; -1 means none. Movable, not copyable. Not thread-safe.
class FileDescriptor {
public:
    FileDescriptor() = default;
    explicit FileDescriptor(int fd) : fd_(fd) {}
    FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    FileDescriptor& operator=(FileDescriptor&& other) noexcept {
        if (this != &other) reset(std::exchange(other.fd_, -1));
        return *this;
    }
    ~FileDescriptor() { reset(); }

    int get() const { return fd_; }
    explicit operator bool() const { return fd_ >= 0; }
    int release() { return std::exchange(fd_, -1); }
    void reset(int fd = -1);

private:
    int fd_ = -1;
};

// Both ends of a channel to another process; both close on exec.
struct DescriptorPair {
    FileDescriptor ours, theirs;
};
// A pipe: what is written to THEIRS is read from OURS.
DescriptorPair make_pipe();
// Lets PIPE hold 1 MiB where the user's quota allows it: with the default of 64 KiB, each of these costs two switches
// between the processes.
void widen_pipe(const FileDescriptor& pipe);

// openat(2) with O_CLOEXEC; throws system_error naming PATH.
FileDescriptor open_at(int directory, const std::string& path, int flags, unsigned mode = 0);
// openat(2) with O_CLOEXEC; an empty FileDescriptor when PATH does not exist.
FileDescriptor try_open_at(int directory, const std::string& path, int flags);
// The same for reading what should be a regular file or /dev/null, which stands for an empty one: throws
// Error(failed) for anything else, and never waits for who writes to a pipe.
FileDescriptor open_file(int directory, const std::string& path, int flags = 0);
FileDescriptor try_open_file(int directory, const std::string& path, int flags = 0);
// A file in memory that only its descriptor leads to, with TEXT in it; NAME is for errors.
FileDescriptor memory_file(const std::string& name, std::string_view text = {});
// A path that leads to what FD is open on, in this process and in a child that has it: for functions that take paths.
std::string path_of_descriptor(int fd);
// Checks FD, which PATH led to, as they do.
void require_file(int fd, const std::string& path);
// Whether PATH, its links followed, leads to the file that is open as FD. Throws system_error where that cannot be
// found out.
bool leads_to(int directory, const std::string& path, int fd);
// Whether FD can be read or is at its end. Waits for that MILLISECONDS at most, as long as it takes if they are
// negative; a signal interrupts it.
bool is_readable(int fd, int milliseconds = 0);
// The same; whether no process has the other end of FD open any more.
bool is_hung_up(int fd, int milliseconds = 0);
// Writes everything or throws system_error naming WHAT.
void write_all(int fd, std::span<const std::byte> bytes, const std::string& what);
// Writes to the standard error output what can be written there; the rest is lost.
void write_to_stderr(std::string_view text) noexcept;
// Reads what FD has from OFFSET on until BUFFER is full or the file ends, and returns how much that is; its position
// stays. Throws system_error naming WHAT.
std::size_t read_at(int fd, std::uint64_t offset, std::span<std::byte> buffer, std::string_view what);
// Reads to the end of the file; throws Error(corrupt_input) when it is longer than LIMIT bytes.
std::string read_all(int fd, std::size_t limit, const std::string& what);

}  // namespace imaged
