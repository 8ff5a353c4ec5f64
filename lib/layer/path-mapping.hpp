// SPDX-License-Identifier: Apache-2.0
// Where an image's paths live in a commit (the store format shared with ostree-ext): /etc is kept as usr/etc, because
// OSTree makes /etc from it at deployment; /var is kept as usr/share/factory/var where the running libostree does not
// fill /var from a commit's /var (before 2024.3).
//
// Reading tars and merging both work on the image's own paths; commits are converted where they are read and written.
// So a whiteout of /usr does not take /etc with it, and a link under /etc that climbs out of it leads where the image's
// author meant.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace imaged {

using Path = std::vector<std::string>;

struct PathMapping {
    bool move_var = false;

    // PATH with usr/etc and, where var moves, usr/share/factory/var spelled as etc and var; whiteouts of them likewise.
    Path canonical(Path path) const;
};

// Parents, in a commit, of what moves.
inline const Path etc_parent{"usr"};
inline const Path var_parent{"usr", "share", "factory"};

inline constexpr std::string_view whiteout_prefix = ".wh.";
inline constexpr std::string_view opaque_whiteout = ".wh..wh..opq";

// Whether the mapping moves the root's entry NAME, "etc" or ".wh.etc" for instance: NAME is MOVED or its whiteout.
bool is_or_hides(std::string_view name, std::string_view moved);

}  // namespace imaged
