// SPDX-License-Identifier: Apache-2.0
#include "store/repository-place.hpp"

#include <sys/stat.h>

#include "base/error.hpp"

namespace imaged {

namespace {

// Whether PATH leads to what is open as FD.
bool is_at(const std::string& path, int fd) {
    struct stat named, open;
    return ::stat(path.c_str(), &named) == 0 && ::fstat(fd, &open) == 0 && named.st_dev == open.st_dev &&
           named.st_ino == open.st_ino;
}

}  // namespace

bool is_in_place(const Repository& repository) {
    return is_at(repository.path(), repository.fd()) && is_at(repository.path() + "/objects", repository.objects());
}

void require_in_place(const Repository& repository) {
    if (!is_in_place(repository))
        throw Error(ErrorKind::failed, "the repository " + repository.path() +
                                           " was moved away or replaced while the job was at work; nothing of the "
                                           "job is in what is there now");
}

}  // namespace imaged
