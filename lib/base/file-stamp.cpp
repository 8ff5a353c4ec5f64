// SPDX-License-Identifier: Apache-2.0
#include "base/file-stamp.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <utility>

#include "base/error.hpp"

namespace imaged {

namespace {

constexpr std::int64_t second = 1'000'000'000;
constexpr std::int64_t settling = second / 10, settling_of_seconds = 2 * second;

}  // namespace

std::int64_t in_nanoseconds(const timespec& time) {
    return static_cast<std::int64_t>(time.tv_sec) * second + time.tv_nsec;
}

std::int64_t now_in_nanoseconds() {
    timespec time{};
    ::clock_gettime(CLOCK_REALTIME, &time);
    return in_nanoseconds(time);
}

bool is_settled(std::int64_t time) {
    return now_in_nanoseconds() - time > (time % second == 0 ? settling_of_seconds : settling);
}

FileStamp FileStamp::of(int place, const std::string& path) {
    struct stat status {};
    if (::fstatat(place, path.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) return {};
    return {status.st_ino, static_cast<std::uint64_t>(status.st_size), in_nanoseconds(status.st_ctim)};
}

bool DirectoryStamp::refresh(int place, const std::string& path) {
    struct stat status {};
    const bool found = ::fstatat(place, path.c_str(), &status, 0) == 0;
    if (!found && errno != ENOENT && errno != ENOTDIR) throw_errno("look at " + path);
    if (!found || !S_ISDIR(status.st_mode)) return std::exchange(*this, {}).exists();
    const auto changed = in_nanoseconds(status.st_ctim);
    if (settled_ && inode_ == status.st_ino && changed_ == changed) return false;
    inode_ = status.st_ino;
    changed_ = changed;
    settled_ = is_settled(changed);
    return true;
}

}  // namespace imaged
