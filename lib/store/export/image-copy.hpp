// SPDX-License-Identifier: Apache-2.0
// Copies an image into another repository: its merge commit, the commits of its layers and of its base, everything
// that they reach, their signatures and their refs. The destination did not verify these layers itself: they serve the
// image that was copied, and no import (detached-metadata.hpp).
//
// Crash rule: every object is there and durable before the commits are, and those before the refs; the refs of the
// layers are written in one transaction, the image's after it, and right before it the ref that keeps what it replaces.
// A copy that was ended half-way leaves no ref and no commit, and what it brought serves the next one.
#pragma once

#include <optional>
#include <string>

#include "base/cancellation.hpp"
#include "oci/image-reference.hpp"
#include "store/objects/object-transfer.hpp"
#include "store/records/stored-image.hpp"
#include "store/repository/import-observer.hpp"

namespace imaged {

struct CopyRequest {
    std::string source, destination;  // absolute paths of repositories
    bool make_destination = false;    // where nothing is
    ImageReference image;
    std::optional<ImageReference> target;  // stored under this one instead
    bool keep_previous = false;            // what it replaces gets a ref of its own there (kept-ref.hpp)
};

struct CopiedImage {
    std::optional<Digest> previous_digest;  // of what the reference named in the destination
    bool changed = false;                   // whether the destination did
    StoredImage image;
    TransferCounts objects;
};

// Takes the shared locks of both repositories. Throws Error(not_found) when the image or a repository is not there,
// Error(repository_damaged) naming what the source lacks, and what ObjectTransfer throws.
CopiedImage copy_image(const CopyRequest& request, const Cancellation& cancellation, ImportObserver& observer);

}  // namespace imaged
