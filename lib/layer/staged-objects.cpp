// SPDX-License-Identifier: Apache-2.0
#include "layer/staged-objects.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <string>

#include "base/error.hpp"

namespace imaged {

namespace {

bool is_there(int objects, const std::string& path) {
    struct stat status;
    return ::fstatat(objects, path.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0;
}

// Like renameat2(2) with RENAME_NOREPLACE, on file systems that do not have it (NFS) as well.
int rename_without_replacing(int from, const char* name, int to, const char* new_name) {
    if (::renameat2(from, name, to, new_name, RENAME_NOREPLACE) == 0) return 0;
    if (errno != EINVAL && errno != ENOSYS) return -1;
    if (::linkat(from, name, to, new_name, 0) != 0) return -1;
    ::unlinkat(from, name, 0);  // what is left goes with the scratch directory
    return 0;
}

[[noreturn]] void gone(const std::string& name) {
    throw Error(ErrorKind::failed, "the object " + name +
                                       " is gone from the repository: another program removes objects there, or files "
                                       "in its tmp, while imaged is at work");
}

void move_into_place(int from, const std::string& name, int objects, const std::string& path) {
    for (const bool again : {false, true}) {
        if (rename_without_replacing(from, name.c_str(), objects, path.c_str()) == 0) return;
        if (errno == EEXIST) {
            ::unlinkat(from, name.c_str(), 0);
            return;
        }
        if (errno != ENOENT) throw_errno("move the object " + name + " into the repository");
        // It was moved before, it is gone, or there is no directory for it yet.
        if (is_there(objects, path)) return;
        if (again) break;
        const auto prefix = path.substr(0, 2);
        if (::mkdirat(objects, prefix.c_str(), 0775) != 0 && errno != EEXIST) throw_errno("make objects/" + prefix);
    }
    gone(name);
}

}  // namespace

std::string staged_name(const Checksum& checksum, ObjectType type) {
    return checksum.hex() + "." + std::string(suffix(type));
}

std::string object_path(const Checksum& checksum, ObjectType type) {
    return staged_name(checksum, type).insert(2, "/");
}

void StagedObjects::add(const Name& name) {
    if (names_.size() == max_names)
        throw Error(ErrorKind::unsupported_image,
                    "more than the limit of " + std::to_string(max_names) + " objects in one layer or merged image");
    names_.push_back(name);
}

void StagedObjects::retain_dirtrees(const std::unordered_set<Checksum>& keep,
                                    const std::function<void(const Checksum&)>& drop) {
    for (std::size_t i = 0; i < names_.size(); ++i) {
        auto& name = names_[i];
        if (name.type != ObjectType::dirtree || name.state != State::staged || keep.contains(name.checksum)) continue;
        drop(name.checksum);
        name.state = State::dropped;
    }
}

void StagedObjects::publish(int objects, const std::function<int(const Checksum&)>& directory,
                            const std::function<void()>& before_commits) const {
    // A crash half-way must not leave a commit or a directory whose parts are missing.
    const auto rank = [](ObjectType type) {
        return type == ObjectType::commit ? 2 : type == ObjectType::dirtree ? 1 : 0;
    };
    for (const int round : {0, 1, 2}) {
        if (round == 2) before_commits();
        for (std::size_t i = 0; i < names_.size(); ++i) {
            const auto& [checksum, type, state] = names_[i];
            if (rank(type) != round || state == State::dropped) continue;
            const auto path = object_path(checksum, type);
            if (state == State::staged)
                move_into_place(directory(checksum), staged_name(checksum, type), objects, path);
            else if (!is_there(objects, path))
                gone(staged_name(checksum, type));
        }
    }
}

void StagedObjects::check(const std::function<bool(const Checksum&, ObjectType)>& is_there) const {
    for (std::size_t i = 0; i < names_.size(); ++i) {
        const auto& [checksum, type, state] = names_[i];
        if (state != State::dropped && !is_there(checksum, type)) gone(staged_name(checksum, type));
    }
}

}  // namespace imaged
