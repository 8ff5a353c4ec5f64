// SPDX-License-Identifier: Apache-2.0
#include "base/tree-path.hpp"

namespace imaged {

std::string join_path(const Path& path) {
    std::string text;
    for (const auto& name : path) {
        if (!text.empty()) text += '/';
        text += name;
    }
    return text.empty() ? "." : text;
}

std::string join_path(const std::string& directory, const std::string& name) {
    return directory.empty() ? name : directory + "/" + name;
}

Path split_path(std::string_view text) {
    Path path;
    for (std::size_t begin = 0; begin < text.size();) {
        const auto end = std::min(text.find('/', begin), text.size());
        const auto name = text.substr(begin, end - begin);
        if (!name.empty() && name != ".") path.emplace_back(name);
        begin = end + 1;
    }
    return path;
}

}  // namespace imaged
