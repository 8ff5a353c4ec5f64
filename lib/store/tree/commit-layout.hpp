// SPDX-License-Identifier: Apache-2.0
// Converts between the image's own paths and those of a commit (see layer/path-mapping.hpp).
//
// A merged tree has one directory for the image's /etc and its /usr/etc, because programs make /etc of a deployment
// from it. It has the entries of the image's /etc, and those of /usr/etc for which /etc has none. If one of
// them is a link to the other, it adds no entries. The same applies to /var and /usr/share/factory/var if /var moves.
//
// Belongs to one thread; borrows the store.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "store/records/layer-record.hpp"
#include "store/tree/tree-store.hpp"

namespace imaged {

class CommitLayout {
public:
    CommitLayout(TreeStore& store, const PathMapping& mapping) : store_(store), mapping_(mapping) {}

    // The root of a base commit in the image's own paths. Its /var stays out of the merge: programs that deploy it
    // leave it where it is.
    TreeEntry own_base(TreeEntry root);
    // The root of a layer's commit in the image's own paths.
    TreeEntry own_layer(TreeEntry root, const LayerRecord& record);
    // The inverse, for a merged tree. Throws Error(unsupported_image) for a tree that no commit can hold.
    TreeEntry committed(TreeEntry root);

    // Entries that gave way in committed(): by the image's own path of the directory they were in.
    const std::map<std::string, std::uint32_t>& lost() const { return lost_; }

private:
    TreeEntry bring_up(TreeEntry root, const MovedDirectory& move, const LayerRecord* record);
    TreeEntry name_aside(const TreeEntry& root, const MovedDirectory& move);
    TreeEntry drop_implied(TreeEntry root, Path path, const LayerRecord& record);
    TreeEntry take_down(const TreeEntry& root, const MovedDirectory& move);
    std::optional<TreeEntry> one_of(const TreeEntry& root, const MovedDirectory& move, const TreeEntry& own);
    Checksum lay_under(const Checksum& own, const Checksum& beside, const Path& own_place, const Path& beside_place);
    bool leads(const TreeEntry& entry, const Path& place, const Path& target);

    TreeStore& store_;
    const PathMapping& mapping_;
    std::optional<TreeEntry> base_var_;
    std::map<std::string, std::uint32_t> lost_;
    std::uint32_t lost_now_ = 0;
};

}  // namespace imaged
