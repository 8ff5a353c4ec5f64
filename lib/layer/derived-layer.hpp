// SPDX-License-Identifier: Apache-2.0
// Turns the tar of a derived layer (an ordinary container layer) into a tree of OSTree objects, with whiteouts kept as
// files for the merge.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "layer/layer-tree.hpp"
#include "layer/object-sink.hpp"
#include "layer/path-mapping.hpp"
#include "layer/tar-reader.hpp"

namespace imaged {

// Directories that are mounted over at run time: kept, their entries are not.
inline constexpr std::array<std::string_view, 5> runtime_directories{"run", "tmp", "proc", "sys", "dev"};
bool is_runtime_directory(std::string_view name);

// Which top-level entries an image keeps. A layer keeps all of them: which policy the image has is known when its
// layers are merged.
enum class RootPolicy {
    everything,   // generic images, and bases with a transient root
    usr_etc_var,  // the root of the base is read-only: only what OSTree deploys
};

struct DerivedLayerRules {
    // The policy for the image, as far as it is known.
    RootPolicy root = RootPolicy::everything;
    PathMapping mapping;
};

// A link whose target the merge has to find in the layers below.
struct UnresolvedLink {
    std::string path, target;  // the image's own paths
};

struct DerivedLayer {
    LayerTree::Root root;
    std::map<std::string, std::uint32_t> filtered;  // top-level path to entries dropped by the rules
    std::uint64_t special_files = 0;                // devices, fifos, sockets: dropped
    std::uint64_t bad_names = 0;                    // names and targets that are not UTF-8, names below ".wh.": dropped
    std::uint64_t dropped_xattrs = 0;               // attributes that cannot be kept (storable-xattrs.hpp)
    std::vector<UnresolvedLink> unresolved;
    // Hard links between files of this layer: path, and the file that it is a link of.
    std::vector<UnresolvedLink> hard_links;
    // Those of either kind that came before anything that the layer itself may have at their targets: what lower layers
    // have there counts first.
    std::vector<UnresolvedLink> links_first;
    // Of the hard links: path, and an entry that is what it is a link of if symbolic links of lower layers lead it to
    // the place of the link's file. As far as they fit.
    std::vector<UnresolvedLink> link_rivals;
    // Paths of entries for which no file is stored, as many as fit: an entry that could not be stored, and links of
    // later layers to it are dropped too; or one whose place a directory took.
    std::vector<std::string> lost;
    bool has_whiteouts = false;
};

// Reads TAR to its end and puts its objects into SINK, its regular files into SINK_OF_FILE's if there is one; those
// that are setuid or setgid or have capabilities only into SINK. Throws Error(corrupt_input) or
// Error(unsupported_image) naming the entry.
DerivedLayer read_derived_layer(TarReader& tar, ObjectSink& sink, const DerivedLayerRules& rules,
                                const SinkOfFile& sink_of_file = {});

// Puts the current entry's content into SINK, as a regular file with META. Throws Error(corrupt_input) when its size is
// not what the header says.
Checksum put_content(TarReader& tar, const TarEntry& entry, const FileMeta& meta, ObjectSink& sink);

}  // namespace imaged
