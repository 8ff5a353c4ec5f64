// SPDX-License-Identifier: Apache-2.0
// Applies the whiteouts and opaque markers of a layer to the tree of the layers below, before any entry of the layer:
// they hide what is below, never entries of their own layer.
#pragma once

#include <string>
#include <vector>

#include "store/records/layer-record.hpp"
#include "store/tree/tree-store.hpp"

namespace imaged {

class LayerOverlay;

bool is_whiteout(std::string_view name);

// A directory of a layer whose place below is taken by a symbolic link.
struct LinkedDirectory {
    Path place;          // of the link
    std::string listed;  // the image's own path
    TreeEntry upper;
};

class LayerHiding {
public:
    // Borrows all three. OVERLAY knows which directories the layer lists.
    LayerHiding(TreeStore& store, const LayerRecord& record, const LayerOverlay& overlay)
        : store_(store), record_(record), overlay_(overlay) {}

    // LOWER without what UPPER hides. Throws Error(corrupt_input) for links without an end.
    TreeEntry apply(const TreeEntry& lower, const TreeEntry& upper);

private:
    Checksum hide(const Checksum& lower, const Checksum& upper, Path& place, const std::string& listed);
    TreeEntry hide_through_links(TreeEntry root);
    TreeEntry hide_behind(TreeEntry root);

    TreeStore& store_;
    const LayerRecord& record_;
    const LayerOverlay& overlay_;
    std::vector<LinkedDirectory> linked_;
};

}  // namespace imaged
