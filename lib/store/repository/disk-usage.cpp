// SPDX-License-Identifier: Apache-2.0
#include "store/repository/disk-usage.hpp"

#include <fcntl.h>
#include <sys/statvfs.h>

#include "base/directory.hpp"

namespace imaged {

namespace {

constexpr std::uint64_t block_bytes = 512;  // st_blocks is in these, whatever the file system's own are

}  // namespace

void DiskUsage::remove(const struct stat& status) {
    if (status.st_nlink > 1) {
        auto& rest = links_.try_emplace({status.st_dev, status.st_ino}, status.st_nlink).first->second;
        if (--rest > 0) return;
    }
    bytes_ += static_cast<std::uint64_t>(status.st_blocks) * block_bytes;
}

void DiskUsage::remove(int directory, const std::string& name) {
    struct stat status;
    if (::fstatat(directory, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) return;
    if (!S_ISDIR(status.st_mode)) {
        remove(status);
        return;
    }
    visit_directory(try_open_at(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW), name,
                    [&](const DirectoryEntry& entry) { remove(entry.directory, entry.name); });
}

void DiskUsage::add_block(int directory) {
    struct statvfs status;
    if (::fstatvfs(directory, &status) == 0) added_ += status.f_frsize;
}

}  // namespace imaged
