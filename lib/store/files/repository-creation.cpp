// SPDX-License-Identifier: Apache-2.0
// The layout is libostree's (its documentation, "Repository"). As in libostree, objects/ is made last, and an attempt
// goes on where an earlier one ended: until objects/ is there, so little of the rest holds anything that the directory
// is a repository that is still to be made.
#include "store/files/repository-creation.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <span>
#include <string_view>
#include <system_error>

#include "base/error.hpp"
#include "base/file-descriptor.hpp"
#include "base/system-failure.hpp"

namespace imaged {

namespace {

namespace fs = std::filesystem;

// What is made before objects/, config first.
constexpr std::array<std::string_view, 5> before_objects{"config", "tmp", "extensions", "state", "refs"};
constexpr std::array directories{"tmp",        "extensions",   "state",        "refs",
                                 "refs/heads", "refs/mirrors", "refs/remotes", "objects"};

// All of it or nothing.
void make_config(int repository) {
    const auto text = std::string("[core]\nrepo_version=1\nmode=") + (::geteuid() == 0 ? "bare" : "bare-user") + "\n";
    const auto file = open_at(repository, ".", O_TMPFILE | O_WRONLY, 0644);
    write_all(file.get(), std::as_bytes(std::span(text)), "config");
    if (::fdatasync(file.get()) != 0) throw_errno("sync config");
    const auto path = path_of_descriptor(file.get());
    if (::linkat(AT_FDCWD, path.c_str(), repository, "config", AT_SYMLINK_FOLLOW) != 0 && errno != EEXIST)
        throw_errno("name config");
}

bool holds_files(const fs::path& directory) {
    const fs::recursive_directory_iterator entries(directory);
    return std::any_of(fs::begin(entries), fs::end(entries),
                       [](const auto& entry) { return entry.symlink_status().type() != fs::file_type::directory; });
}

// Whether DIRECTORY is empty, or what a creation that was interrupted leaves.
bool is_half_made(const fs::path& directory) {
    const fs::directory_iterator entries(directory);
    return std::all_of(fs::begin(entries), fs::end(entries), [](const auto& entry) {
        const auto name = entry.path().filename().string();
        if (std::find(before_objects.begin(), before_objects.end(), name) == before_objects.end()) return false;
        return name == "config" || (entry.symlink_status().type() == fs::file_type::directory && !holds_files(entry));
    });
}

}  // namespace

bool is_repository(const std::string& path) {
    struct stat status {};
    std::error_code failure;  // on an error, fall back to the full check
    if (::stat(path.c_str(), &status) != 0) {
        if (errno == ENOENT) return false;
        throw as_damage(system_error(errno, path));
    }
    if (!S_ISDIR(status.st_mode) || fs::exists(path + "/objects", failure)) return true;
    try {
        return !is_half_made(path);
    } catch (const fs::filesystem_error& error) {
        throw as_damage(system_error(error.code().value(), path));
    }
}

void make_repository(const std::string& path) {
    std::error_code failure;
    fs::create_directories(path, failure);
    if (failure) throw system_error(failure.value(), "make the repository " + path);
    in_context("make the repository " + path, [&] {
        const auto repository = open_at(AT_FDCWD, path, O_RDONLY | O_DIRECTORY);
        // Objects of a bare repository are files with the modes of the image, setuid too, and merely pulled is not
        // installed.
        if (::fchmod(repository.get(), 0700) != 0) throw_errno("close it");
        make_config(repository.get());
        for (const char* name : directories) {
            if (::mkdirat(repository.get(), name, 0755) != 0 && errno != EEXIST)
                throw_errno(std::string("make ") + name);
        }
    });
}

}  // namespace imaged
