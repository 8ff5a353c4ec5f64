// SPDX-License-Identifier: Apache-2.0
// Paths in the trees of images and commits: relative to the root of the tree, as lists of names. Pure functions.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.hpp"

namespace imaged {

// Names, none of them "", "." or ".."; none for the root.
using Path = std::vector<std::string>;

// PATH_MAX; nothing on Linux can open a longer one.
inline constexpr std::size_t max_path_bytes = 4096;
// Deeper trees than any package has; bounds the recursion of everything that walks a tree.
inline constexpr std::size_t max_path_depth = 256;
// NAME_MAX.
inline constexpr std::size_t max_name_bytes = 255;
// Linux follows this many links for one path.
inline constexpr unsigned max_path_links = 40;

// "usr/lib/x"; "." for the root.
std::string join_path(const Path& path);
// NAME in DIRECTORY, whose own path is "" for the root.
std::string join_path(const std::string& directory, const std::string& name);
// The names in TEXT, without "" and "."; ".." is kept.
Path split_path(std::string_view text);

// An entry that a walk along a path finds at a name. PLACE is the caller's own value for it.
template <typename Place>
struct PathStep {
    Place place;
    std::optional<std::string> target = {};  // of a symbolic link that is to be followed
};

// Resolves PATH from ROOT. LOOKUP(place of the directory, its path, a name in it, whether that is the last) returns
// what is there. The parent of the root is the root; the rest of a path behind a missing entry is returned as it is.
// Throws Error(corrupt_input) for a loop, Error(unsupported_image) for a path that leads too deep, and what LOOKUP
// throws.
template <typename Place, typename Lookup>
Path resolve_path(const Path& path, const Place& root, Lookup&& lookup) {
    Path resolved;
    Path rest(path.rbegin(), path.rend());
    std::vector<Place> chain{root};
    unsigned links = 0;
    while (!rest.empty()) {
        const auto name = std::move(rest.back());
        rest.pop_back();
        if (name == "..") {
            if (resolved.empty()) continue;
            resolved.pop_back();
            chain.pop_back();
            continue;
        }
        PathStep<Place> step = lookup(chain.back(), std::as_const(resolved), name, rest.empty());
        if (!step.target) {
            resolved.push_back(name);
            chain.push_back(std::move(step.place));
            continue;
        }
        if (++links > max_path_links)
            throw Error(ErrorKind::corrupt_input, "too many symbolic links on the way to \"" + join_path(path) + "\"");
        if (step.target->starts_with('/')) {
            resolved.clear();
            chain.assign(1, root);
        }
        const auto names = split_path(*step.target);
        rest.insert(rest.end(), names.rbegin(), names.rend());
    }
    if (resolved.size() > max_path_depth)
        throw Error(ErrorKind::unsupported_image, "\"" + join_path(path) +
                                                      "\" leads through symbolic links deeper than " +
                                                      std::to_string(max_path_depth) + " levels");
    return resolved;
}

}  // namespace imaged
