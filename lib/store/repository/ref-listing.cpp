// SPDX-License-Identifier: Apache-2.0
#include "store/repository/ref-listing.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>

#include "base/directory.hpp"
#include "base/error.hpp"
#include "base/system-failure.hpp"
#include "store/repository/ref-file.hpp"

namespace imaged {

namespace {

// Times of files tick with the kernel's timer, a few milliseconds apart; two changes within a tick look like one.
constexpr std::int64_t settling_nanoseconds = 100'000'000;

std::int64_t in_nanoseconds(const timespec& time) {
    return time.tv_sec * 1'000'000'000LL + time.tv_nsec;
}

std::int64_t now() {
    timespec time;
    ::clock_gettime(CLOCK_REALTIME, &time);
    return in_nanoseconds(time);
}

}  // namespace

bool RefListing::refresh() {
    if (!refresh(path_, root_)) return false;
    refs_.clear();
    collect(prefix_, root_);
    return true;
}

bool RefListing::refresh(const std::string& path, Directory& directory) const {
    struct stat status;
    const bool found = ::fstatat(repository_, path.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0;
    if (!found && errno != ENOENT && errno != ENOTDIR) throw_errno("look at " + path);
    if (!found || !S_ISDIR(status.st_mode)) {
        const bool changed = directory.inode != 0;
        directory = {};
        return changed;
    }
    bool changed = false;
    const auto modified = in_nanoseconds(status.st_mtim);
    if (!directory.settled || directory.inode != status.st_ino || directory.modified != modified) {
        directory.inode = status.st_ino;
        directory.modified = modified;
        directory.settled = now() - modified > settling_nanoseconds;
        read(path, directory);
        changed = true;
    }
    for (auto& [name, child] : directory.directories) changed |= refresh(path + "/" + name, child);
    return changed;
}

void RefListing::read(const std::string& path, Directory& directory) const {
    directory.files.clear();
    std::map<std::string, Directory> known;
    std::swap(known, directory.directories);
    auto opened = try_open_at(repository_, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    visit_directory(std::move(opened), path, [&](const DirectoryEntry& entry) {
        const std::string name = entry.name;
        if (name.starts_with('.') || name.starts_with("tmp.")) return;  // libostree is just writing it
        if (entry.is_directory) {
            if (except_.contains(path + "/" + name)) return;
            const auto found = known.find(name);
            directory.directories.emplace(name, found == known.end() ? Directory{} : std::move(found->second));
        } else {
            // What an alias leads to changes elsewhere.
            if (entry.is_link) directory.settled = false;
            if (const auto checksum = listed(entry.directory, name, directory))
                directory.files.emplace(name, *checksum);
        }
    });
}

std::optional<Checksum> RefListing::listed(int place, const std::string& name, Directory& directory) {
    try {
        return read_ref_file(place, name);
    } catch (const Error& error) {
        if (is_shortage(error)) throw;
        directory.settled = false;
        return Checksum{};  // the others are listed all the same
    }
}

void RefListing::collect(const std::string& name, const Directory& directory) {
    for (const auto& [file, checksum] : directory.files) refs_.emplace(name + "/" + file, checksum);
    for (const auto& [child, content] : directory.directories) collect(name + "/" + child, content);
}

}  // namespace imaged
