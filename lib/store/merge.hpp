// SPDX-License-Identifier: Apache-2.0
// The tree of an image, from the trees of its layers, without a checkout: only dirtrees are read, and only those that
// differ are written.
//
// Layers are merged in the image's own paths (see path-mapping.hpp) and the result is put into the layout of a commit
// again.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "layer/object-sink.hpp"
#include "oci/digest.hpp"
#include "store/layer-record.hpp"
#include "store/tree-store.hpp"

namespace imaged {

struct MergeLayer {
    Digest digest;
    TreeEntry root;
    LayerRecord record;
};

struct MergedTree {
    TreeEntry root;
    // Entries that were dropped here, because a layer was imported for an image that keeps more: layer digest to
    // top-level path to count.
    std::map<std::string, std::map<std::string, std::uint32_t>> filtered;
};

// BASE is the root of the base commit; without one the image is generic. LAYERS are handed over one at a time, lowest
// first; NEXT_LAYER returns nothing at the end. New objects go into SINK. Throws Error(corrupt_input) or
// Error(unsupported_image) naming layer and path.
MergedTree merge_layers(const std::optional<TreeEntry>& base,
                        const std::function<std::optional<MergeLayer>()>& next_layer, const DerivedLayerRules& rules,
                        ObjectSink& sink);

}  // namespace imaged
