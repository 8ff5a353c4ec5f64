// SPDX-License-Identifier: Apache-2.0
// Compares two images: layers, and on request files. Reads only.
#pragma once

#include <optional>

#include "base/json-fwd.hpp"
#include "oci/image-reference.hpp"
#include "store/repository/repository.hpp"

namespace imaged {

// The keys of org.imaged1.Manager.Diff. Without TO, FROM is compared with the update that waits for it. Throws
// Error(not_found) for an image that is not stored or an update that does not wait, Error(invalid_argument) for the
// files of an update, which are not here yet.
nlohmann::json diff_images(const Repository& repository, const ImageReference& from,
                           const std::optional<ImageReference>& to, bool files);

}  // namespace imaged
