// SPDX-License-Identifier: Apache-2.0
// The metadata of a derived layer's commit. ostree-ext writes and reads only ostree.importer.version; the other keys
// are imaged's own, and ostree-ext ignores them:
//   imaged.diff-id               s    verified SHA-256 of the layer's uncompressed tar
//   imaged.implicit-directories  as   directories that no entry listed, as the image's own paths, "" for the root
//   imaged.listed-directories    as   in place of those, where they are too many: directories that an entry listed with
//                                     the metadata of those that none does
//   imaged.unresolved-links      a(ss)  hard links to files of lower layers: path and target, the image's own paths
//   imaged.links-first           a(ss)  hard links that came before what the layer itself may have at their targets
//   imaged.whiteouts-behind      as   whiteouts under a path that the layer itself made something else than a directory
//   imaged.lost                  as   where a special file stood, what has no name in UTF-8, or something whose place a
//                                     directory took; as far as they fit
//   imaged.order                 as   entries that symbolic links below may lead to where others are, in their order,
//                                     where that is not the order of their paths
//   imaged.hard-links            a(ss)  hard links between files of this layer: path and target, the image's own paths;
//                                     as far as they fit
//   imaged.link-rivals           a(ss)  hard links whose target is not certain: path, and another entry that may be the
//                                     target; as far as they fit
//   imaged.root-policy           s    "everything" or "usr-etc-var": which top-level directories may be here
//   imaged.filtered              a{su}  top-level path to number of entries that were not kept
//   imaged.dropped               a{st}  see dropped-counts.hpp
//   imaged.moved-var             b    /var is at usr/share/factory/var
//   imaged.whiteouts             b    whether there is any
// The commit has no subject, no bindings and the timestamp 0: the same layer gives the same commit.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

#include "layer/derived-layer.hpp"
#include "oci/digest.hpp"
#include "store/records/dropped-counts.hpp"
#include "store/repository/repository.hpp"

namespace imaged {

struct LayerRecord {
    std::optional<Digest> diff_id;
    bool has_implicit = false;  // whether it says which directories no entry listed, and what of them only hides
    std::unordered_set<std::string> implicit_directories, whiteout_only_directories;
    std::optional<std::unordered_set<std::string>> listed_directories;  // in place of implicit_directories
    std::vector<UnresolvedLink> unresolved, hard_links, links_first, link_rivals;
    std::vector<std::string> whiteouts_behind, order, lost;
    RootPolicy root = RootPolicy::usr_etc_var;  // what ostree-ext does
    std::map<std::string, std::uint32_t> filtered;
    DroppedCounts dropped;
    bool moved_var = false;
    bool has_whiteouts = true;

    // Reads the record in the commit. Trust it only if VerifiedLayers names the commit.
    static LayerRecord read(const Repository::Commit& commit);
    // Whether no entry listed the directory PATH, an own path of the image's. IS_DEFAULT: whether its metadata are
    // those of such a directory; for all that another program says, those that have them are.
    bool is_implicit(const std::string& path, bool is_default) const;
    // Whether the commit says any of it.
    static bool claims_anything(const Repository::Commit& commit);
    // Whether a layer imported this way can serve where RULES apply.
    bool fits(const DerivedLayerRules& rules) const;
};

// The metadata of a new layer commit.
VariantPtr layer_metadata(const DerivedLayer& layer, const DerivedLayerRules& rules, const Digest& diff_id);

// The value of ostree.importer.version that this program writes.
std::string importer_version();

}  // namespace imaged
