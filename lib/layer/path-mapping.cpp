// SPDX-License-Identifier: Apache-2.0
#include "layer/path-mapping.hpp"

#include <algorithm>

namespace imaged {

Path merged_path(Path path, bool move_var) {
    // One directory for what was moved to a place and what the image has there itself.
    const PathMapping mapping{move_var};
    for (const auto& move : mapping.moves()) {
        if (!path.empty() && path.front() == move.name) {
            path.insert(path.begin(), move.parent.begin(), move.parent.end());
            break;
        }
    }
    return path;
}

bool is_or_hides(std::string_view name, std::string_view moved) {
    if (name.starts_with(whiteout_prefix)) name.remove_prefix(whiteout_prefix.size());
    return name == moved;
}

Path MovedDirectory::place() const {
    auto path = parent;
    path.push_back(name);
    return path;
}

const std::vector<MovedDirectory>& PathMapping::moves() const {
    static const MovedDirectory etc{"etc", {"usr"}, ".wh..wh.etc"};
    static const MovedDirectory var{"var", {"usr", "share", "factory"}, ".wh..wh.var"};
    static const std::vector<MovedDirectory> both{etc, var}, one{etc};
    return move_var ? both : one;
}

Path PathMapping::stored(Path path) const {
    for (const auto& move : moves()) {
        const auto place = move.place();
        if (!path.empty() && path.front() == move.name) {
            path.insert(path.begin(), move.parent.begin(), move.parent.end());
            break;
        }
        if (path.size() >= place.size() && std::equal(place.begin(), place.end(), path.begin())) {
            path[place.size() - 1] = move.aside;
            break;
        }
    }
    return path;
}

}  // namespace imaged
