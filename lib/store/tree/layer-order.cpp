// SPDX-License-Identifier: Apache-2.0
#include "store/tree/layer-order.hpp"

#include "base/tree-path.hpp"

namespace imaged {

void LayerOrder::read() {
    if (!ranks_.empty()) return;
    for (const auto& entry : record_.order) ranks_.emplace(entry, ranks_.size());
}

bool LayerOrder::knows(const std::string& path) {
    read();
    return ranks_.empty() || ranks_.contains(path);
}

bool LayerOrder::is_later(const std::string& path, const std::string& other) {
    read();
    const auto rank = ranks_.find(path), other_rank = ranks_.find(other);
    if (rank != ranks_.end() && other_rank != ranks_.end()) return rank->second > other_rank->second;
    const PathMapping mapping{record_.moved_var};
    return mapping.stored(split_path(path)) > mapping.stored(split_path(other));
}

}  // namespace imaged
