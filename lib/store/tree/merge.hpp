// SPDX-License-Identifier: Apache-2.0
// Merges the trees of an image's layers into the tree of the image, without a checkout: only dirtrees are read, and
// only those that differ are written.
//
// Layers are merged in the image's own paths and the result is put into the layout of a commit again (see
// commit-layout.hpp). What may be at the top over a base is decided by the merged tree (see root-policy.hpp).
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>

#include "layer/object-sink.hpp"
#include "oci/digest.hpp"
#include "store/records/layer-record.hpp"
#include "store/tree/tree-store.hpp"

namespace imaged {

struct MergeLayer {
    Digest digest;
    TreeEntry root;
    LayerRecord record;
};

struct MergedTree {
    TreeEntry root;
    // Entries that were dropped here: layer digest to path to count. The path is a top-level one that the root of the
    // base cannot show, a directory that gave way to another (see commit-layout.hpp), or a place where a layer has a
    // file and something below it.
    std::map<std::string, std::map<std::string, std::uint32_t>> filtered;
    std::uint64_t dropped_links = 0;  // hard links to what no layer keeps
};

// Returns the text of a file object; nullopt if it is not a regular file, or too long.
using TextReader = std::function<std::optional<std::string>(const Checksum& file)>;

// BASE is the root of the base commit; without one the image is generic. LAYERS are handed over one at a time, lowest
// first; NEXT_LAYER returns nothing at the end. READ_TEXT reads files of base and layers. New objects go into SINK.
// Throws Error(corrupt_input) or Error(unsupported_image) naming layer and path.
MergedTree merge_layers(const std::optional<TreeEntry>& base,
                        const std::function<std::optional<MergeLayer>()>& next_layer, const DerivedLayerRules& rules,
                        const TextReader& read_text, ObjectSink& sink);

}  // namespace imaged
