// SPDX-License-Identifier: Apache-2.0
#include "layer/pipe-object.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include "base/error.hpp"
#include "layer/object-placement.hpp"

namespace imaged {

void require_no_pipe(int objects, const Checksum& checksum, const std::string& suffix) {
    const auto name = checksum.hex() + suffix;
    struct stat status;
    if (::fstatat(objects, object_path(name).c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISFIFO(status.st_mode))
        throw Error(ErrorKind::repository_damaged, "object " + name + " is a pipe");
}

}  // namespace imaged
