// SPDX-License-Identifier: Apache-2.0
#include "layer/path-mapping.hpp"

#include <algorithm>

namespace imaged {

namespace {

// PARENT/MOVED/… becomes MOVED/…
void unmap(Path& path, const Path& parent, std::string_view moved) {
    if (path.size() > parent.size() && std::equal(parent.begin(), parent.end(), path.begin()) &&
        is_or_hides(path[parent.size()], moved))
        path.erase(path.begin(), path.begin() + static_cast<std::ptrdiff_t>(parent.size()));
}

}  // namespace

bool is_or_hides(std::string_view name, std::string_view moved) {
    if (name.starts_with(whiteout_prefix)) name.remove_prefix(whiteout_prefix.size());
    return name == moved;
}

Path PathMapping::canonical(Path path) const {
    unmap(path, etc_parent, "etc");
    if (move_var) unmap(path, var_parent, "var");
    return path;
}

}  // namespace imaged
