// SPDX-License-Identifier: Apache-2.0
#include "store/files/partial-mark.hpp"

#include <unistd.h>

#include <cerrno>

#include "base/directory.hpp"
#include "base/error.hpp"

namespace imaged {

std::string partial_mark(const Checksum& commit) {
    return "state/" + commit.hex() + ".commitpartial";
}

bool has_partial_mark(int repository, const Checksum& commit) {
    return exists(repository, partial_mark(commit));
}

void remove_partial_mark(int repository, const Checksum& commit) {
    if (::unlinkat(repository, partial_mark(commit).c_str(), 0) != 0 && errno != ENOENT && errno != ENOTDIR)
        throw_errno("remove libostree's mark that commit " + commit.hex() + " is partial");
}

}  // namespace imaged
