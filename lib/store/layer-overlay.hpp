// SPDX-License-Identifier: Apache-2.0
// One derived layer laid over the tree of those below it, by the rules of the OCI image-spec ("Image Layer Filesystem
// Changeset"):
//   - whiteouts and opaque markers hide what lies below, never what their own layer brings, and are gone afterwards;
//   - a directory that the layer lists replaces the metadata of the one below, and any other kind of entry;
//   - a directory that is there for whiteouts only makes nothing;
//   - a directory that it only implies keeps the metadata below, and follows a symbolic link below to where it leads;
//   - any other entry replaces what is below.
#pragma once

#include <string>
#include <vector>

#include "store/layer-record.hpp"
#include "store/tree-store.hpp"

namespace imaged {

class LayerOverlay {
public:
    // Borrows both.
    LayerOverlay(TreeStore& store, const LayerRecord& record);

    // LOWER with UPPER over it. Throws Error(corrupt_input) naming the path that cannot be placed.
    TreeEntry apply(const TreeEntry& lower, const TreeEntry& upper);
    // A layer with nothing below it.
    TreeEntry apply(const TreeEntry& upper);

private:
    // An implied directory whose place below is taken by a symbolic link.
    struct Graft {
        Path place;          // in the result
        std::string listed;  // the image's own path
        TreeEntry upper;
        bool hollow;
    };

    bool is_implicit(const std::string& listed, const Checksum& meta) const;
    Checksum merge(const Checksum& lower, const Checksum& upper, Path& place, const std::string& listed);
    // Whether the directory is there for whiteouts only.
    bool is_hollow(const std::string& listed, const TreeEntry& upper);
    // A tree with nothing below it: whiteouts have nothing to hide.
    Checksum strip(const Checksum& tree, const std::string& listed);
    TreeEntry place_grafts(TreeEntry root);
    TreeEntry place_links(TreeEntry root, const TreeEntry& lower);

    TreeStore& store_;
    const LayerRecord& record_;
    std::vector<Graft> grafts_;
};

}  // namespace imaged
