// SPDX-License-Identifier: Apache-2.0
#include "store/records/layer-names.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <string_view>
#include <utility>

#include "base/directory.hpp"
#include "base/error.hpp"

namespace imaged {

namespace {

// As in ref-listing.cpp.
constexpr std::int64_t settling_nanoseconds = 100'000'000;
constexpr std::string_view name_prefix = "sha256_3A_";  // of layer_ref()

std::int64_t in_nanoseconds(const timespec& time) {
    return time.tv_sec * 1'000'000'000LL + time.tv_nsec;
}

}  // namespace

bool LayerNames::refresh() {
    lost_ = false;
    struct stat status {};
    if (::fstatat(repository_, path_.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0 && errno != ENOENT && errno != ENOTDIR)
        throw_errno("look at " + path_);
    const bool is_there = S_ISDIR(status.st_mode);
    const auto inode = is_there ? status.st_ino : 0;
    const auto modified = is_there ? in_nanoseconds(status.st_mtim) : 0;
    if ((!is_there || settled_) && inode == inode_ && modified == modified_) return false;
    timespec now{};
    ::clock_gettime(CLOCK_REALTIME, &now);
    auto blobs = is_there ? read() : std::vector<Checksum>();
    lost_ = !std::includes(blobs.begin(), blobs.end(), blobs_.begin(), blobs_.end());
    blobs_ = std::move(blobs);
    inode_ = inode;
    modified_ = modified;
    settled_ = in_nanoseconds(now) - modified > settling_nanoseconds;
    return true;
}

bool LayerNames::contains(const Checksum& blob) const {
    return std::binary_search(blobs_.begin(), blobs_.end(), blob);
}

std::vector<Checksum> LayerNames::read() const {
    std::vector<Checksum> blobs;
    auto directory = try_open_at(repository_, path_, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    visit_directory(std::move(directory), path_, [&](const DirectoryEntry& entry) {
        const std::string_view name(entry.name);
        if (entry.is_directory || !name.starts_with(name_prefix)) return;
        if (const auto blob = Checksum::from_hex(name.substr(name_prefix.size()))) blobs.push_back(*blob);
    });
    std::sort(blobs.begin(), blobs.end());
    return blobs;
}

}  // namespace imaged
