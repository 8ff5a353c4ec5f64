// SPDX-License-Identifier: Apache-2.0
#include "store/repository/foreign-repository.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

#include "base/error.hpp"
#include "base/file-descriptor.hpp"

namespace imaged {

namespace {

constexpr std::size_t max_config_bytes = 1024 * 1024;
constexpr std::array<const char*, 6> directories{"objects", "refs", "refs/heads", "tmp", "state", "extensions"};

[[noreturn]] void refuse(const std::string& path, const std::string& why) {
    throw Error(ErrorKind::invalid_argument, "the repository " + path + " cannot be copied from or to: " + why);
}

// Before libostree reads it: it opens what core.parent names at once, and the parent's parent.
void check_config(int directory, const std::string& path) {
    const FileDescriptor file(::openat(directory, "config", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    const bool is_link_or_socket = !file && (errno == ELOOP || errno == ENXIO);
    struct stat status {};
    if (!is_link_or_socket && (!file || ::fstat(file.get(), &status) != 0)) throw_errno("open " + path + "/config");
    if (!S_ISREG(status.st_mode)) refuse(path, "its config is no regular file");
    if (status.st_size > static_cast<off_t>(max_config_bytes))
        refuse(path, "its config is larger than the limit of " + std::to_string(max_config_bytes) + " bytes");
    const auto text = read_all(file.get(), max_config_bytes, path + "/config");
    const std::unique_ptr<GKeyFile, Free<g_key_file_unref>> config(g_key_file_new());
    ErrorSlot error;
    if (g_key_file_load_from_data(config.get(), text.data(), text.size(), G_KEY_FILE_NONE, error.out()) == FALSE)
        refuse(path, "its config cannot be read");
    if (g_key_file_has_key(config.get(), "core", "parent", nullptr) != FALSE)
        refuse(path, "its config names a parent repository (core.parent)");
}

void check_owner(const struct stat& status, const std::string& path, const std::string& what) {
    if (status.st_uid != ::geteuid())
        refuse(path, what + " belongs to another user (uid " + std::to_string(status.st_uid) + ")");
    if ((status.st_mode & S_IWOTH) != 0) refuse(path, "everybody may write to " + what);
}

struct stat check_directories(int directory, const std::string& path, RepositoryUse use) {
    struct stat top;
    if (::fstat(directory, &top) != 0) throw_errno("look at " + path);
    if (use == RepositoryUse::write) check_owner(top, path, "it");
    for (const char* name : directories) {
        struct stat status;
        if (::fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) != 0) {
            if (errno == ENOENT) continue;
            throw_errno("look at " + path + "/" + name);
        }
        if (!S_ISDIR(status.st_mode)) refuse(path, std::string("its ") + name + " is no directory");
        if (use == RepositoryUse::write) check_owner(status, path, std::string("its ") + name);
    }
    return top;
}

}  // namespace

Repository open_self_contained(const std::string& path, RepositoryUse use) {
    const auto directory = try_open_at(AT_FDCWD, path, O_RDONLY | O_DIRECTORY);
    if (directory) {
        const auto checked = check_directories(directory.get(), path, use);
        if (const auto config = try_open_at(directory.get(), "config", O_PATH | O_NOFOLLOW)) {
            check_config(directory.get(), path);
            auto repository = Repository::open_existing(path);
            struct stat opened;
            if (repository && (::fstat(repository->fd(), &opened) != 0 || opened.st_dev != checked.st_dev ||
                               opened.st_ino != checked.st_ino || repository->has_parent()))
                refuse(path, "it changes while it is opened");
            if (repository) return *std::move(repository);
        }
    }
    throw Error(ErrorKind::not_found, "there is no repository " + path);
}

}  // namespace imaged
