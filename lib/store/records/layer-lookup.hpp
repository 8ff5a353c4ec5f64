// SPDX-License-Identifier: Apache-2.0
// Finds the commit in the repository that can be used for a layer of an image.
#pragma once

#include <optional>
#include <string>

#include "layer/derived-layer.hpp"
#include "oci/layout.hpp"
#include "store/files/verified-layers.hpp"
#include "store/records/presence.hpp"
#include "store/repository/repository.hpp"

namespace imaged {

enum class LayerTrust {
    refs,           // also layers that another program imported, under the ref of their own blob
    verified_only,  // nothing but what this program verified
};

class LayerLookup {
public:
    // Borrows everything. RULES are those that derived layers must have been read by.
    LayerLookup(const Repository& repository, Presence& presence, const DerivedLayerRules& rules, LayerTrust trust)
        : repository_(repository), presence_(presence), rules_(rules), trust_(trust), verified_(repository.fd()) {}

    // The layer's commit, complete: the one that its ref names, or for a derived layer any commit with the same
    // verified diff-id. Throws Error(digest_mismatch) if the ref names a layer whose diff-id was verified with this
    // very blob, and is another one. Where it was verified with another blob, nobody has looked whether this one has it
    // too: then nothing stands for the layer before it was fetched.
    std::optional<Checksum> find(const ImageLayer& layer) const;

private:
    // PLACE is the ref that names COMMIT, if it was found by one.
    bool serves(const ImageLayer& layer, const Checksum& commit, const std::string& place) const;
    // The diff-id that COMMIT was verified to have, where it is not LAYER's.
    std::optional<Digest> other_content(const ImageLayer& layer, const Checksum& commit) const;

    const Repository& repository_;
    Presence& presence_;
    const DerivedLayerRules& rules_;
    const LayerTrust trust_;
    const VerifiedLayers verified_;
};

}  // namespace imaged
