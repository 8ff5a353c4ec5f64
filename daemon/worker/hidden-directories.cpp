// SPDX-License-Identifier: Apache-2.0
#include "hidden-directories.hpp"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <deque>
#include <filesystem>
#include <map>

#include "base/error.hpp"

namespace imaged {

namespace {

namespace fs = std::filesystem;

// As the kernel allows.
constexpr unsigned max_links = 40;

struct Way {
    std::map<fs::path, fs::path> links;  // each symbolic link on it, and its text
    fs::path end;                        // without links; empty if nothing is there
};

Way way_to(const fs::path& path) {
    Way way;
    fs::path place = "/";
    const auto absolute = fs::absolute(path);
    std::deque<fs::path> rest(absolute.begin(), absolute.end());
    for (unsigned links = 0; !rest.empty();) {
        const auto name = rest.front();
        rest.pop_front();
        const auto next = name == ".." ? place.parent_path() : name.empty() || name == "." ? place : place / name;
        std::error_code failure;
        if (fs::is_symlink(fs::symlink_status(next, failure))) {
            if (++links > max_links) return way;
            const auto text = fs::read_symlink(next, failure);
            way.links[next] = text;
            rest.insert(rest.begin(), text.begin(), text.end());
        } else if (fs::exists(next, failure)) {
            place = next;
        } else {
            return way;
        }
    }
    way.end = place;
    return way;
}

bool lies_below(const fs::path& path, const std::string& directory) {
    return path.native().starts_with(directory + "/");
}

// A copy of what is mounted at PATH.
FileDescriptor copy_of(const fs::path& path) {
    FileDescriptor tree(static_cast<int>(
        ::syscall(SYS_open_tree, AT_FDCWD, path.c_str(),
                  OPEN_TREE_CLONE | static_cast<unsigned>(OPEN_TREE_CLOEXEC) | static_cast<unsigned>(AT_RECURSIVE))));
    if (!tree) throw_errno("open_tree " + path.string());
    return tree;
}

void mount_tree(const FileDescriptor& tree, const fs::path& path) {
    if (::syscall(SYS_move_mount, tree.get(), "", AT_FDCWD, path.c_str(), MOVE_MOUNT_F_EMPTY_PATH) != 0)
        throw_errno("show " + path.string() + " to the job");
}

void make_directories(const fs::path& path) {
    std::error_code failure;
    fs::create_directories(path, failure);
    if (failure) throw system_error(failure.value(), "make " + path.string() + " for the job");
}

}  // namespace

void hide_directory(const std::string& directory, const std::vector<std::string>& kept,
                    const FileDescriptor& replacement) {
    if (!fs::is_directory(directory)) return;
    std::map<fs::path, FileDescriptor> shown;
    std::map<fs::path, fs::path> links;
    for (const auto& path : kept) {
        auto way = way_to(path);
        links.merge(way.links);
        if (lies_below(way.end, directory) && !shown.contains(way.end)) shown.emplace(way.end, copy_of(way.end));
    }
    if (replacement) {
        mount_tree(replacement, directory);
    } else if (::mount("tmpfs", directory.c_str(), "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0755,size=1m") !=
               0) {
        throw_errno("hide " + directory + " from the job");
    }
    for (const auto& [path, tree] : shown) {
        struct stat status;
        if (::fstat(tree.get(), &status) != 0) throw_errno("look at " + path.string());
        make_directories(S_ISDIR(status.st_mode) ? path : path.parent_path());
        if (!S_ISDIR(status.st_mode) && !fs::exists(path)) open_at(AT_FDCWD, path.string(), O_WRONLY | O_CREAT, 0600);
        mount_tree(tree, path);
    }
    for (const auto& [path, text] : links) {
        if (!lies_below(path, directory) || fs::is_symlink(fs::symlink_status(path))) continue;
        make_directories(path.parent_path());
        if (::symlink(text.c_str(), path.c_str()) != 0) throw_errno("make the link " + path.string());
    }
}

}  // namespace imaged
