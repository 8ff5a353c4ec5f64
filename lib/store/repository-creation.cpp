// SPDX-License-Identifier: Apache-2.0
// Where a repository begins. libostree makes objects/ last and goes on where an earlier attempt ended: until objects/
// is there, so little of the rest holds anything that the directory is a repository that is still to be made.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/error.hpp"
#include "base/system-failure.hpp"
#include "store/repository.hpp"

namespace imaged {

namespace {

namespace fs = std::filesystem;

// What libostree makes before objects/, config first.
constexpr std::array<std::string_view, 5> before_objects{"config", "tmp", "extensions", "state", "refs"};

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

bool exists(const std::string& path) {
    struct stat status {};
    std::error_code failure;  // then it is looked at closely
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

}  // namespace

std::optional<Repository> Repository::open_existing(const std::string& path) {
    if (!exists(path)) return std::nullopt;
    return std::optional<Repository>(std::in_place, path);
}

Repository Repository::open_or_create(const std::string& path) {
    if (auto existing = open_existing(path)) return std::move(*existing);
    create(path);
    return Repository(path);
}

void Repository::create(const std::string& path) {
    std::error_code failure;
    fs::create_directories(path, failure);
    if (failure) throw system_error(failure.value(), "make the repository " + path);
    // Objects of a bare repository are files with the modes of the image, setuid too, and merely pulled is not
    // installed.
    if (::chmod(path.c_str(), 0700) != 0) throw_errno("close the repository " + path);
    const auto file = adopt(g_file_new_for_path(path.c_str()));
    const auto repo = adopt(ostree_repo_new(file.get()));
    ErrorSlot error;
    error.check(ostree_repo_create(repo.get(), ::geteuid() == 0 ? OSTREE_REPO_MODE_BARE : OSTREE_REPO_MODE_BARE_USER,
                                   nullptr, error.out()),
                "make the repository " + path);
}

}  // namespace imaged
