// SPDX-License-Identifier: Apache-2.0
#include "store/files/record-file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <span>

#include "base/directory.hpp"
#include "base/error.hpp"
#include "base/system-failure.hpp"
#include "base/tree-path.hpp"

namespace imaged {

namespace {

constexpr const char* layers_path = "extensions/imaged/layers";
constexpr int max_set_aside = 1000;

bool is_ours(const struct stat& status) {
    return (status.st_uid == 0 || status.st_uid == ::geteuid()) && (status.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

// Of what is missing, or not ours; any other errno of open(2) says nothing of what is there.
bool is_not_ours(int number) {
    return number == ENOENT || number == ENOTDIR || number == ELOOP || number == EACCES || number == EPERM ||
           number == ENXIO;
}

FileDescriptor open_own_directory(int parent, const std::string& name) {
    FileDescriptor directory(::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    struct stat status;
    if (!directory && !is_not_ours(errno)) throw_errno("open " + name);
    if (!directory) return {};
    if (::fstat(directory.get(), &status) != 0) throw_errno("look at " + name);
    return is_ours(status) ? std::move(directory) : FileDescriptor();
}

void set_aside(int parent, const std::string& name) {
    for (int number = 1; number < max_set_aside; ++number) {
        const auto other = name + ".set-aside-" + std::to_string(number);
        if (rename_without_replacing(parent, name.c_str(), parent, other.c_str()) == 0 || errno != EEXIST) return;
    }
}

// The directory, component by component; MAKE gets each that is missing or not ours.
template <typename Make>
FileDescriptor walk(int repository, const std::string& path, Make&& make) {
    FileDescriptor directory(::fcntl(repository, F_DUPFD_CLOEXEC, 0));
    bool is_first = true;
    for (const auto& name : split_path(path)) {
        if (!directory) break;
        auto next = open_own_directory(directory.get(), name);
        if (!next && make(directory.get(), name, is_first)) next = open_own_directory(directory.get(), name);
        directory = std::move(next);
        is_first = false;
    }
    return directory;
}

}  // namespace

FileDescriptor open_records(int repository, const std::string& path) {
    return walk(repository, path, [](int, const std::string&, bool) { return false; });
}

FileDescriptor make_records(int repository, const std::string& path) {
    return walk(repository, path, [](int parent, const std::string& name, bool is_libostrees) {
        if (exists(parent, name)) {
            if (is_libostrees) return false;
            set_aside(parent, name);
        }
        return ::mkdirat(parent, name.c_str(), 0755) == 0 || errno == EEXIST;
    });
}

std::optional<std::string> read_record(int directory, const std::string& name, std::size_t limit) {
    try {
        const auto file = try_open_at(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
        if (!file) return std::nullopt;
        struct stat status;
        if (::fstat(file.get(), &status) != 0) throw_errno("look at " + name);
        if (!S_ISREG(status.st_mode) || !is_ours(status)) return std::nullopt;
        return read_all(file.get(), limit, name);
    } catch (const Error& error) {
        if (is_system_failure(error) && !is_not_ours(error_number(error).value_or(0))) throw;
        return std::nullopt;
    }
}

void write_record(int directory, const std::string& name, const std::string& text, Durability durability) {
    struct stat status {};
    ::fstatat(directory, name.c_str(), &status, AT_SYMLINK_NOFOLLOW);
    if (S_ISDIR(status.st_mode)) set_aside(directory, name);
    replace_file(directory, name, text, durability);
}

bool append_record(int directory, const std::string& name, const std::string& text) {
    const FileDescriptor file(
        ::openat(directory, name.c_str(), O_WRONLY | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    struct stat status;
    if (!file && !is_not_ours(errno)) throw_errno("open " + name);
    if (!file) return false;
    if (::fstat(file.get(), &status) != 0) throw_errno("look at " + name);
    if (!S_ISREG(status.st_mode) || !is_ours(status)) return false;
    write_all(file.get(), std::as_bytes(std::span(text)), name);
    return true;
}

std::optional<std::string> record_place_fault(int repository) {
    std::optional<std::string> fault;
    try {
        walk(repository, layers_path, [&](int parent, const std::string& name, bool) {
            if (exists(parent, name))
                fault = "\"" + name + "\" on the way to " + layers_path +
                        " is not a directory, or another user owns it or may write to it; imaged cannot record there "
                        "which layers it verified, and fetches them again";
            return false;
        });
    } catch (const Error& error) {
        fault = error.what();
    }
    return fault;
}

}  // namespace imaged
