// SPDX-License-Identifier: Apache-2.0
// Makes a kept version of an image (kept-ref.hpp) the current one, and keeps the previous one: a second rollback
// reverts the first.
//
// Crash rule: the current version gets its kept ref before the image's ref changes, and the kept ref of the other one
// is removed after that. If the process ends in between, both versions have a ref.
#pragma once

#include <optional>
#include <string>

#include "base/cancellation.hpp"
#include "oci/image-reference.hpp"
#include "store/records/stored-image.hpp"

namespace imaged {

struct RollbackRequest {
    std::string repository;  // absolute path
    ImageReference image;
    // The version to go back to, or what begins its digest (begins_digest()); by default the one that was current last.
    std::optional<std::string> digest;
};

struct RolledBack {
    std::optional<Digest> previous_digest;  // of the version that was current, if that can be read
    StoredImage image;
};

// Remembers the newer version as an update that is available (pending-update.hpp): the one that was waiting for the
// image, else the version that was current. Throws Error(not_found) if the image is not stored or no such version is
// kept, Error(invalid_argument) if several are, Error(repository_damaged) if it lacks anything; nothing has changed
// then.
RolledBack roll_back(const RollbackRequest& request, const Cancellation& cancellation);

}  // namespace imaged
