// SPDX-License-Identifier: Apache-2.0
#include "store/tree/layer-order.hpp"

#include "layer/tar-reader.hpp"

namespace imaged {

bool LayerOrder::is_later(const std::string& path, const std::string& other) {
    if (ranks_.empty()) {
        for (const auto& entry : record_.order) ranks_.emplace(entry, ranks_.size());
    }
    const auto rank = ranks_.find(path), other_rank = ranks_.find(other);
    if (rank != ranks_.end() && other_rank != ranks_.end()) return rank->second > other_rank->second;
    const PathMapping mapping{record_.moved_var};
    return mapping.stored(split_path(path)) > mapping.stored(split_path(other));
}

}  // namespace imaged
