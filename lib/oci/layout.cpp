// SPDX-License-Identifier: Apache-2.0
#include "oci/layout.hpp"

#include <algorithm>

#include "base/error.hpp"

namespace imaged {

ImageLayout ImageLayout::of(const Manifest& manifest, const ImageConfig& config) {
    if (manifest.layers.size() != config.diff_ids.size())
        throw Error(ErrorKind::corrupt_input, "the manifest has " + std::to_string(manifest.layers.size()) +
                                                  " layers, the config " + std::to_string(config.diff_ids.size()) +
                                                  " diff_ids");
    ImageLayout layout;
    std::size_t base_layers = 0;
    if (const auto label = config.labels.find("ostree.final-diffid"); label != config.labels.end()) {
        const auto last = in_context("label ostree.final-diffid", [&] { return Digest::parse(label->second); });
        const auto found = std::find(config.diff_ids.begin(), config.diff_ids.end(), last);
        if (found == config.diff_ids.end())
            throw Error(ErrorKind::corrupt_input,
                        "no layer has the diff-id that the label ostree.final-diffid names: " + last.text());
        layout.ostree = true;
        base_layers = static_cast<std::size_t>(found - config.diff_ids.begin()) + 1;
    }
    for (std::size_t i = 0; i < manifest.layers.size(); ++i) {
        const auto kind = i >= base_layers ? LayerKind::derived : i == 0 ? LayerKind::commit : LayerKind::chunk;
        layout.layers.push_back({kind, manifest.layers[i], config.diff_ids[i]});
    }
    return layout;
}

}  // namespace imaged
