// SPDX-License-Identifier: Apache-2.0
// Verifies the signed OSTree commit of an image before anything of the image is stored (ostree-remote-image:,
// ostree-remote-registry:).
#pragma once

#include <optional>
#include <vector>

#include "layer/object-layer.hpp"
#include "oci/image-reference.hpp"
#include "source/layer-source.hpp"
#include "source/proxy/source-image.hpp"
#include "store/repository/repository.hpp"

namespace imaged {

// Returns the verified commit of an image with such a signature source, and nullopt for any other image. PRESENT are
// the commits of the image's layers that the repository has, in their order. Without the first, or if no signature that
// the repository has of it is valid, the beginning of the commit layer is read from LAYERS, where the image is open;
// the import of the layer must then find the same commit in it. Without a REPOSITORY there are no keys. Throws
// Error(policy_rejected).
std::optional<CommitHead> verify_signed_commit(const Repository* repository, LayerSource& layers,
                                               const ImageReference& image, const SourceImage& source,
                                               const std::vector<std::optional<Checksum>>& present);

}  // namespace imaged
