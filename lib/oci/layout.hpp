// SPDX-License-Identifier: Apache-2.0
// Determines the kind of each layer of an image.
//
// An image whose config carries the label ostree.final-diffid is an encapsulated OSTree commit: a commit layer, chunk
// layers up to and including the one with that diff-id, then derived layers. Any other image is generic: every layer is
// a derived layer.
#pragma once

#include <vector>

#include "base/enum-names.hpp"
#include "oci/image-config.hpp"
#include "oci/manifest.hpp"

namespace imaged {

enum class LayerKind { commit, chunk, derived };
constexpr auto names_of(LayerKind) {
    return enum_names<LayerKind>(
        {{LayerKind::commit, "commit"}, {LayerKind::chunk, "chunk"}, {LayerKind::derived, "derived"}});
}

struct ImageLayer {
    LayerKind kind;
    Descriptor blob;
    Digest diff_id;
};

struct ImageLayout {
    bool ostree = false;  // there is a base commit
    std::vector<ImageLayer> layers;

    // Throws Error(corrupt_input) when manifest and config do not belong together.
    static ImageLayout of(const Manifest& manifest, const ImageConfig& config);
};

}  // namespace imaged
