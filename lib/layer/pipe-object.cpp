// SPDX-License-Identifier: Apache-2.0
#include "layer/pipe-object.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include "base/error.hpp"

namespace imaged {

void require_no_pipe(int objects, const Checksum& checksum, const std::string& suffix) {
    const auto hex = checksum.hex();
    struct stat status;
    if (::fstatat(objects, (hex.substr(0, 2) + "/" + hex.substr(2) + suffix).c_str(), &status, AT_SYMLINK_NOFOLLOW) ==
            0 &&
        S_ISFIFO(status.st_mode))
        throw Error(ErrorKind::repository_damaged, "object " + hex + suffix + " is a pipe");
}

}  // namespace imaged
