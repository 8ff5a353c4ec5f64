// SPDX-License-Identifier: Apache-2.0
// An OCI layout that seems to have all layers of an image, for checking the containers policy: skopeo copies into it,
// and fetches manifest and config only. In a temporary directory of this process's user, which goes with the object.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

#include "base/scratch-directory.hpp"

namespace imaged {

// Size by digest, "sha256:…".
using BlobSizes = std::map<std::string, std::uint64_t>;

class PolicyLayout {
public:
    // Throws Error(failed) for what is no SHA-256 digest.
    explicit PolicyLayout(const BlobSizes& blobs);

    const std::filesystem::path& path() const { return scratch_.path(); }
    // The digest of the manifest that was put in. Throws Error(failed) unless there is exactly one.
    std::string manifest_digest() const;

private:
    ScratchDirectory scratch_;
};

}  // namespace imaged
