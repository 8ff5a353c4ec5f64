// SPDX-License-Identifier: Apache-2.0
#include "layer/metadata-limit.hpp"

#include <string>

#include "base/error.hpp"

namespace imaged {

void check_metadata_size(ObjectType type, std::size_t bytes) {
    if (bytes > max_metadata_bytes)
        throw Error(ErrorKind::unsupported_image, "a " + std::string(suffix(type)) + " of " + std::to_string(bytes) +
                                                      " bytes is larger than an OSTree object may be (" +
                                                      std::to_string(max_metadata_bytes / 1024 / 1024) + " MiB)");
}

}  // namespace imaged
