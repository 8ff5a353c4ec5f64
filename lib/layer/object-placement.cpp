// SPDX-License-Identifier: Apache-2.0
#include "layer/object-placement.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>

#include "base/directory.hpp"
#include "base/error.hpp"

namespace imaged {

namespace {

constexpr std::array<const char*, placed_types> suffixes{".file",   ".dirtree", ".dirmeta",
                                                         ".commit", ".filez",   ".commitmeta"};

}  // namespace

std::string staged_name(const Checksum& checksum, PlacedType type) {
    return checksum.hex() + suffixes[static_cast<unsigned>(type)];
}

std::string object_path(std::string name) {
    return name.insert(2, "/");
}

std::string object_path(const Checksum& checksum, PlacedType type) {
    return object_path(staged_name(checksum, type));
}

bool has_object_at(int objects, const std::string& path) {
    struct stat status;
    if (::fstatat(objects, path.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) return false;
    if (!S_ISREG(status.st_mode) && !S_ISLNK(status.st_mode))
        throw Error(ErrorKind::repository_damaged,
                    "objects/" + path + " is no file; imagectl verify --repair replaces it");
    return true;
}

bool is_placed(int objects, const Placement& placement) {
    return has_object_at(objects, object_path(placement.checksum, placement.type));
}

void throw_gone(const Placement& placement) {
    throw Error(ErrorKind::failed, "the object " + staged_name(placement.checksum, placement.type) +
                                       " is gone from the repository: another program removes objects there, or files "
                                       "in its tmp, while imaged is at work");
}

void place_object(int from, int objects, const Placement& placement) {
    const auto name = staged_name(placement.checksum, placement.type);
    const auto path = object_path(name);
    for (const bool again : {false, true}) {
        if (rename_without_replacing(from, name.c_str(), objects, path.c_str()) == 0) return;
        if (errno == EEXIST && is_placed(objects, placement)) {
            ::unlinkat(from, name.c_str(), 0);
            return;
        }
        if (errno != ENOENT) throw_errno("move the object " + name + " into the repository");
        // It was moved before, it is gone, or there is no directory for it yet.
        if (is_placed(objects, placement)) return;
        if (again) break;
        const auto prefix = path.substr(0, 2);
        if (::mkdirat(objects, prefix.c_str(), 0775) != 0 && errno != EEXIST) throw_errno("make objects/" + prefix);
    }
    throw_gone(placement);
}

}  // namespace imaged
