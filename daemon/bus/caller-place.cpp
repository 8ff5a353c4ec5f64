// SPDX-License-Identifier: Apache-2.0
#include "bus/caller-place.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <filesystem>

#include "base/error.hpp"
#include "base/kept-file.hpp"

namespace imaged {

CallerPlace caller_place(const std::string& what, const std::string& path, int file) {
    const auto facts = facts_of(what, file);
    return {path, facts.inode, facts.device_major, facts.device_minor};
}

void require_same_place(const CallerPlace& place) {
    std::filesystem::path path(place.path);
    struct statx status {};
    // What is to be made is not there yet.
    while (::statx(AT_FDCWD, path.c_str(), 0, STATX_INO, &status) != 0 && path.has_relative_path())
        path = path.parent_path();
    if (status.stx_ino == place.inode && status.stx_dev_major == place.device_major &&
        status.stx_dev_minor == place.device_minor)
        return;
    throw Error(ErrorKind::invalid_argument,
                "imaged sees another " + path.string() +
                    " than the caller: a container, or a unit with a private /tmp, has its own, and imaged has its own "
                    "/dev and /proc. Use a path that both share (for " +
                    place.path + "), or hand over an archive as an open file (imagectl import-archive)");
}

}  // namespace imaged
