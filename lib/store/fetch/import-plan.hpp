// SPDX-License-Identifier: Apache-2.0
// Finds out what importing an image would do: which of its layers the repository holds, and whether it has the image
// already.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "layer/derived-layer.hpp"
#include "oci/image-reference.hpp"
#include "source/proxy/source-image.hpp"
#include "store/records/layer-lookup.hpp"
#include "store/records/presence.hpp"
#include "store/records/stored-image.hpp"
#include "store/repository/repository.hpp"

namespace imaged {

struct ImportPlan {
    std::optional<StoredImage> previous;  // what is stored under the reference, if that can be read
    std::optional<Digest> previous_digest;
    bool up_to_date = false;  // the same manifest, and everything it needs is there and not in doubt
    // For each layer the commit that holds it; nullopt if it has to be fetched. Derived layers of an ostree image
    // whose base is missing are looked up too, with the rules for a base without a transient root.
    std::vector<std::optional<Checksum>> present;
    std::uint64_t missing_bytes = 0, present_bytes = 0;  // compressed; a layer that is there twice counts once
    unsigned missing = 0;                                // distinct layers
    std::uint64_t bytes_to_fetch = 0;                    // missing_bytes, or less where somebody has looked closer

    // REPOSITORY may be null, and PRESENCE with it: nothing is there then. Throws Error(digest_mismatch) when a layer's
    // verified diff-id is not what the config says.
    static ImportPlan make(const Repository* repository, Presence* presence, const SourceImage& source,
                           const ImageReference& target, LayerTrust trust = LayerTrust::refs);
};

// Looks at all that is stored under TARGET, so that PRESENCE knows it already when the plan is made: the source takes
// its time to answer. Never fails.
void look_ahead(const Repository& repository, Presence& presence, const ImageReference& target);

// Rules for reading derived layers over the base whose root tree is BASE_TREE; without one for a generic image.
DerivedLayerRules derived_layer_rules(const Repository* repository, const std::optional<Checksum>& base_tree);

}  // namespace imaged
