// SPDX-License-Identifier: Apache-2.0
// A manifest and, behind the first NUL, a config.
#include <cstring>

#include "input.hpp"
#include "oci/layout.hpp"

using namespace imaged;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto input = fuzz::text(data, size);
    const auto end = std::min(input.find('\0'), size);
    const auto first = input.substr(0, end), second = input.substr(std::min(end + 1, size));
    std::optional<Manifest> manifest;
    std::optional<ImageConfig> config;
    fuzz::accepted([&] { Manifest::is_index(first); });
    fuzz::accepted([&] { manifest = Manifest::parse(first); });
    fuzz::accepted([&] { config = ImageConfig::parse(second); });
    if (!config) return 0;
    config->version();
    fuzz::require(config->created_by.size() == config->diff_ids.size(), "each layer has its place in the history");
    if (!manifest) return 0;
    fuzz::accepted([&] {
        const auto layout = ImageLayout::of(*manifest, *config);
        fuzz::require(layout.layers.size() == manifest->layers.size(), "the layout has the manifest's layers");
    });
    return 0;
}
