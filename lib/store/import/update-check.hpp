// SPDX-License-Identifier: Apache-2.0
// Checks whether an image's source has another manifest than the stored one.
#pragma once

#include <functional>
#include <optional>

#include "source/layer-source.hpp"
#include "store/import/image-import.hpp"

namespace imaged {

struct CheckedUpdate {
    Digest digest;  // of the stored manifest
    // The image at the source, if it is another one, and the plan of its import.
    std::optional<PreparedImage> update;
    bool is_news = false;  // the update is remembered now, and was not before
};

// REQUEST.target is the name that the image is stored under, by default its own reference. Records the update in the
// repository, or removes the recorded one if the source no longer has it, unless the request forbids that. Throws
// Error(not_found) if the image is not stored, and what import_image() throws about the source.
//
// AT_SOURCE, if it is given, is called with an update that is found, and with the source that its layers can be read
// from until it returns.
CheckedUpdate check_update(const ImportRequest& request, const Cancellation& cancellation, ImportObserver& observer,
                           const std::function<void(const PreparedImage&, LayerSource&)>& at_source = {});

}  // namespace imaged
