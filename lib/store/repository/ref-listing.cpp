// SPDX-License-Identifier: Apache-2.0
#include "store/repository/ref-listing.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <utility>

#include "base/directory.hpp"
#include "base/error.hpp"
#include "base/system-failure.hpp"
#include "store/repository/ref-file.hpp"

namespace imaged {

bool RefListing::refresh() {
    lost_ = false;
    if (!refresh(path_, root_)) return false;
    refs_.reset();
    return true;
}

const std::unordered_map<std::string, Checksum>& RefListing::refs() const {
    if (!refs_) {
        refs_.emplace();
        collect(prefix_, root_);
    }
    return *refs_;
}

bool RefListing::contains(std::string_view ref) const {
    if (!ref.starts_with(prefix_)) return false;
    ref.remove_prefix(prefix_.size());
    const auto* directory = &root_;
    while (ref.starts_with('/')) {
        ref.remove_prefix(1);
        const auto slash = ref.find('/');
        if (slash == ref.npos) return directory->files.contains(ref);
        const auto found = directory->directories.find(ref.substr(0, slash));
        if (found == directory->directories.end()) return false;
        directory = &found->second;
        ref.remove_prefix(slash);
    }
    return false;
}

bool RefListing::refresh(const std::string& path, Directory& directory) {
    bool changed = directory.stamp.refresh(repository_, path);
    if (!directory.stamp.exists()) {
        lost_ |= changed;
        directory = {};
        return changed;
    }
    if (changed) read(path, directory);
    for (auto& [name, child] : directory.directories) changed |= refresh(path + "/" + name, child);
    return changed;
}

void RefListing::read(const std::string& path, Directory& directory) {
    const auto known_files = std::exchange(directory.files, {});
    auto known = std::exchange(directory.directories, {});
    const auto known_directories = known.size();
    std::size_t still_there = 0, directories_still_there = 0;
    auto opened = try_open_at(repository_, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    visit_directory(std::move(opened), path, [&](const DirectoryEntry& entry) {
        const std::string name = entry.name;
        if (name.starts_with('.') || name.starts_with("tmp.")) return;  // libostree is just writing it
        if (entry.is_directory) {
            if (except_.contains(path + "/" + name)) return;
            const auto found = known.find(name);
            if (found != known.end()) ++directories_still_there;
            directory.directories.emplace(name, found == known.end() ? Directory{} : std::move(found->second));
        } else {
            // What an alias leads to changes elsewhere.
            if (entry.is_link) directory.stamp.distrust();
            const auto before = known_files.find(name);
            const auto* const file = before == known_files.end() ? nullptr : &before->second;
            if (const auto found = listed(entry.directory, name, file, directory)) {
                if (file != nullptr) ++still_there;
                directory.files.emplace(name, *found);
            }
        }
    });
    lost_ |= still_there < known_files.size() || directories_still_there < known_directories;
}

std::optional<RefListing::File> RefListing::listed(int place, const std::string& name, const File* known,
                                                   Directory& directory) {
    File file;
    struct stat status;
    if (::fstatat(place, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(status.st_mode)) {
        file.inode = status.st_ino;
        file.changed = in_nanoseconds(status.st_ctim);
        file.settled = is_settled(file.changed);
        if (known != nullptr && known->settled && known->inode == file.inode && known->changed == file.changed)
            return *known;
    }
    try {
        const auto checksum = read_ref_file(place, name);
        if (!checksum) return std::nullopt;
        file.checksum = *checksum;
    } catch (const Error& error) {
        if (is_shortage(error)) throw;
        directory.stamp.distrust();
        file.settled = false;
        file.checksum = {};  // the others are listed all the same
    }
    return file;
}

void RefListing::collect(const std::string& name, const Directory& directory) const {
    for (const auto& [file, content] : directory.files) refs_->emplace(name + "/" + file, content.checksum);
    for (const auto& [child, content] : directory.directories) collect(name + "/" + child, content);
}

}  // namespace imaged
