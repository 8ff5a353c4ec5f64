// SPDX-License-Identifier: Apache-2.0
#include "base/exposure.hpp"

#include <sys/stat.h>

#include <filesystem>

namespace imaged {

bool others_can_enter(const std::string& path) {
    std::error_code failure;
    auto directory = std::filesystem::canonical(path, failure);
    if (failure) return false;
    for (;; directory = directory.parent_path()) {
        struct stat status;
        if (::stat(directory.c_str(), &status) != 0 || (status.st_mode & S_IXOTH) == 0) return false;
        if (directory == directory.parent_path()) return true;
    }
}

std::string exposure_warning(const std::string& path) {
    return "other users may enter the repository " + path +
           ": setuid programs of every image in it run for them, also of images that are not deployed; close it with: "
           "chmod 0700 '" +
           path + "'";
}

}  // namespace imaged
