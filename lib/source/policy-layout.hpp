// SPDX-License-Identifier: Apache-2.0
// An OCI layout that seems to have all layers of an image, for checking the containers policy: skopeo copies into it,
// and fetches manifest and config only. In a temporary directory of this process's user, which goes with the object.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

namespace imaged {

// Size by digest, "sha256:…".
using BlobSizes = std::map<std::string, std::uint64_t>;

class PolicyLayout {
public:
    // Throws Error(failed) for what is no SHA-256 digest.
    explicit PolicyLayout(const BlobSizes& blobs);
    ~PolicyLayout();
    PolicyLayout(const PolicyLayout&) = delete;
    PolicyLayout& operator=(const PolicyLayout&) = delete;

    const std::filesystem::path& path() const { return path_; }
    // The digest of the manifest that was put in. Throws Error(failed) unless there is exactly one.
    std::string manifest_digest() const;

private:
    std::filesystem::path path_;
};

}  // namespace imaged
