// SPDX-License-Identifier: Apache-2.0
// Decides which of two entries of a layer came later, if symbolic links of lower layers lead one to the place of the
// other.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>

#include "store/records/layer-record.hpp"

namespace imaged {

class LayerOrder {
public:
    // Borrows the record.
    explicit LayerOrder(const LayerRecord& record) : record_(record) {}

    // Both are the image's own paths. Uses the record if it has both, else the order of the paths: most tars are
    // sorted.
    bool is_later(const std::string& path, const std::string& other);
    // Whether it is more than a guess for PATH.
    bool knows(const std::string& path);

private:
    void read();

    const LayerRecord& record_;
    std::unordered_map<std::string_view, std::size_t> ranks_;
};

}  // namespace imaged
