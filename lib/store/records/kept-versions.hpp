// SPDX-License-Identifier: Apache-2.0
// Lists the versions of an image that a rollback can restore: what the refs of kept-ref.hpp name.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "store/files/kept-ref.hpp"
#include "store/records/stored-image.hpp"

namespace imaged {

struct KeptVersion {
    std::string ref;
    StoredImage image;
};

// A ref that leads to no image, and why.
struct BrokenVersion {
    std::string ref;
    Error error;
};

// The kept versions of an image, the latest first: each digest once, without the current version's.
struct KeptVersions {
    std::vector<KeptVersion> whole;
    std::vector<BrokenVersion> broken;
};
KeptVersions find_kept_versions(const Repository& repository, const std::string& image_ref);

// Returns the whole versions. Throws if the system failed to read one, since that one may be whole too.
std::vector<KeptVersion> kept_versions(const Repository& repository, const std::string& image_ref);

// The version of IMAGE, whose current version has the digest CURRENT, that DIGEST or the beginning of it names; without
// one the version that was current last. Throws Error(not_found) or Error(invalid_argument).
KeptVersion choose_kept_version(const Repository& repository, const ImageReference& image,
                                const std::optional<std::string>& digest, const std::optional<Digest>& current);

// The refs of versions that need not be kept, and what they name: more than KEEP of an image, those that
// kept_versions() leaves out, and all of an image that is not stored any more. One that an alias names stays.
Refs surplus_versions(const Repository& repository, unsigned keep);

}  // namespace imaged
