// SPDX-License-Identifier: Apache-2.0
#include "store/records/layer-names.hpp"

#include <fcntl.h>

#include <string_view>
#include <utility>

#include "base/directory.hpp"

namespace imaged {

namespace {

constexpr std::string_view name_prefix = "sha256_3A_";  // of layer_ref()

}  // namespace

bool LayerNames::refresh() {
    lost_ = false;
    if (!directory_.refresh(repository_, path_)) return false;
    std::vector<Checksum> blobs;
    try {
        if (directory_.exists()) blobs = read();
    } catch (...) {
        directory_.distrust();
        throw;
    }
    if (blobs == blobs_) return false;
    lost_ = !std::includes(blobs.begin(), blobs.end(), blobs_.begin(), blobs_.end());
    blobs_ = std::move(blobs);
    return true;
}

std::vector<Checksum> LayerNames::read() const {
    std::vector<Checksum> blobs;
    auto directory = try_open_at(repository_, path_, O_RDONLY | O_DIRECTORY);
    visit_directory(std::move(directory), path_, [&](const DirectoryEntry& entry) {
        const std::string_view name(entry.name);
        if (entry.is_directory || !name.starts_with(name_prefix)) return;
        if (const auto blob = Checksum::from_hex(name.substr(name_prefix.size()))) blobs.push_back(*blob);
    });
    std::sort(blobs.begin(), blobs.end());
    return blobs;
}

}  // namespace imaged
