// SPDX-License-Identifier: Apache-2.0
#include "hidden-directories.hpp"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <filesystem>

#include "base/error.hpp"
#include "base/file-descriptor.hpp"

namespace imaged {

namespace {

struct Kept {
    std::string path;
    FileDescriptor tree;  // a copy of what is mounted there
    bool directory;
};

std::vector<Kept> copies(const std::string& directory, const std::vector<std::string>& paths) {
    std::vector<Kept> kept;
    for (const auto& path : paths) {
        struct stat status;
        if (!path.starts_with(directory + "/") || ::lstat(path.c_str(), &status) != 0 || S_ISLNK(status.st_mode))
            continue;
        FileDescriptor tree(static_cast<int>(::syscall(
            SYS_open_tree, AT_FDCWD, path.c_str(),
            OPEN_TREE_CLONE | static_cast<unsigned>(OPEN_TREE_CLOEXEC) | static_cast<unsigned>(AT_RECURSIVE))));
        if (!tree) throw_errno("open_tree " + path);
        kept.push_back({path, std::move(tree), S_ISDIR(status.st_mode)});
    }
    return kept;
}

}  // namespace

void hide_directory(const std::string& directory, const std::vector<std::string>& paths) {
    if (!std::filesystem::is_directory(directory)) return;
    const auto kept = copies(directory, paths);
    if (::mount("tmpfs", directory.c_str(), "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0755,size=1m") != 0)
        throw_errno("hide " + directory + " from the job");
    for (const auto& [path, tree, is_directory] : kept) {
        std::error_code failure;
        const std::filesystem::path place = path;
        std::filesystem::create_directories(is_directory ? place : place.parent_path(), failure);
        if (failure) throw system_error(failure.value(), "make " + path + " for the job");
        if (!is_directory) open_at(AT_FDCWD, path, O_WRONLY | O_CREAT, 0600);
        if (::syscall(SYS_move_mount, tree.get(), "", AT_FDCWD, path.c_str(), MOVE_MOUNT_F_EMPTY_PATH) != 0)
            throw_errno("show " + path + " to the job");
    }
}

}  // namespace imaged
