// SPDX-License-Identifier: Apache-2.0
#include "store/repository/free-ref.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <string>

#include "base/error.hpp"
#include "store/files/ref-name.hpp"

namespace imaged {

namespace {

// NAME_MAX.
constexpr std::size_t max_ref_part_bytes = 255;

mode_t type_of(const Repository& repository, const std::string& ref) {
    struct stat status {};
    return ::fstatat(repository.fd(), ("refs/heads/" + ref).c_str(), &status, 0) == 0 ? status.st_mode & S_IFMT : 0;
}

[[noreturn]] void refuse(const ImageReference& image, const std::string& other) {
    const auto name = image_of_ref(other);
    throw Error(ErrorKind::invalid_reference, image.image() + " cannot be stored beside " + name +
                                                  ", which is stored: the name of one is a directory in the name of "
                                                  "the other. Remove that image, or store one "
                                                  "of the two under another name (option target)");
}

}  // namespace

void require_free_ref(const Repository& repository, const ImageReference& image) {
    const auto ref = image_ref(image);
    for (auto begin = image_ref_prefix.size(); begin <= ref.size();) {
        const auto end = std::min(ref.find('/', begin), ref.size());
        if (end - begin > max_ref_part_bytes)
            throw Error(ErrorKind::invalid_reference,
                        image.image() + " cannot be stored: a part of its name is longer than " +
                            std::to_string(max_ref_part_bytes) +
                            " bytes once it is escaped. Store it under another name (option target)");
        const auto parent = ref.substr(0, end);
        if (end < ref.size() && type_of(repository, parent) == S_IFREG) refuse(image, parent);
        begin = end + 1;
    }
    if (type_of(repository, ref) != S_IFDIR) return;
    if (const auto below = repository.refs(ref); !below.empty()) refuse(image, below.begin()->first);
}

}  // namespace imaged
