// SPDX-License-Identifier: Apache-2.0
// Maps the paths of an image to those in a commit (store format shared with ostree-ext): /etc is stored as usr/etc,
// because OSTree makes /etc from it at deployment; /var is stored as usr/share/factory/var if the running libostree
// does not fill /var from a commit's /var (before 2024.3).
//
// If the image itself has /usr/etc or /usr/share/factory/var, that is another directory. A layer's commit keeps it
// beside the moved one, under a name that no entry of an image can have (whiteouts of whiteouts mean nothing); a merged
// tree, which programs deploy, has one directory for both (see store/tree/commit-layout.hpp).
//
// Reading tars and merging both work on the image's own paths; commits are converted where they are read and written.
// So a whiteout of /usr does not take /etc with it, and a link under /etc that climbs out of it leads where the image's
// author meant.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/tree-path.hpp"

namespace imaged {

// The image's /NAME is PARENT/NAME in a commit, and the image's /PARENT/NAME is PARENT/ASIDE in a layer's commit.
struct MovedDirectory {
    std::string name;
    Path parent;
    std::string aside;

    Path place() const;  // PARENT/NAME
};

struct PathMapping {
    bool move_var = false;

    const std::vector<MovedDirectory>& moves() const;
    // The path in a layer's commit of the image's PATH, which is not the root.
    Path stored(Path path) const;
};

inline constexpr std::string_view whiteout_prefix = ".wh.";
inline constexpr std::string_view opaque_whiteout = ".wh..wh..opq";
// At the root of a layer's commit: what the layer put below paths that it made something else than directories
// afterwards. Where such a path is a symbolic link below, those entries went where it leads. No entry of an image can
// have the name.
inline constexpr std::string_view displaced_directory = ".wh..wh.displaced";

// The path in a merged tree of the image's PATH.
Path merged_path(Path path, bool move_var);

// Whether the mapping moves the root's entry NAME, "etc" or ".wh.etc" for instance: NAME is MOVED or its whiteout.
bool is_or_hides(std::string_view name, std::string_view moved);

}  // namespace imaged
