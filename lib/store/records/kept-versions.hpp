// SPDX-License-Identifier: Apache-2.0
// What the refs of kept-ref.hpp name: the versions that an image can be rolled back to.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "store/records/stored-image.hpp"
#include "store/repository/kept-ref.hpp"

namespace imaged {

struct KeptVersion {
    std::string ref;
    StoredImage image;
};

// The versions that are kept of the image with IMAGE_REF, the latest first: each digest once, without the current
// version's, and without those whose commit cannot be read.
std::vector<KeptVersion> kept_versions(const Repository& repository, const std::string& image_ref);

// The refs of versions that need not be kept, and what they name: more than KEEP of an image, those that
// kept_versions() leaves out, and all of an image that is not stored any more. One that an alias names stays.
std::map<std::string, Checksum> surplus_versions(const Repository& repository, unsigned keep);

}  // namespace imaged
