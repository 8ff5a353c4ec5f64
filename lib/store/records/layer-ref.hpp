// SPDX-License-Identifier: Apache-2.0
// Decides which ref names the commit of a layer. The store format has one ref for each blob, but a blob can be a layer
// of two kinds: a layer of OSTree objects (commit or chunk) in one image and a derived layer in another. The two
// commits are different. The blob's ref then names the one of OSTree objects, as other programs expect it, and the
// derived one has a ref of its own below imaged/derived/.
//
// Other programs trust the blob's ref: to them, its commit is the content of the blob. A layer whose blob was not read
// as a whole has a ref of imaged's own instead, below imaged/derived/ or imaged/objects/.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "oci/layout.hpp"
#include "store/files/verified-layers.hpp"
#include "store/repository/repository.hpp"

namespace imaged {

// The digest of the blob that REF, of either kind, belongs to; REF itself if it is no such ref.
std::string blob_of_ref(const std::string& ref);
// The ref of LAYER that only imaged looks at.
std::string own_ref(const ImageLayer& layer);
// The ref that names LAYER's commit, or would if it were stored.
std::string ref_of_layer(const Repository& repository, const ImageLayer& layer);
struct PlacedLayer {
    std::string ref;
    RefTarget target;  // of REF; the caller judges whether that is the layer
};
// The same, and what is there. VERIFIED: of this repository; one for all layers of a job.
PlacedLayer placed_layer(const Repository& repository, const VerifiedLayers& verified, const ImageLayer& layer);
RefTarget layer_target(const Repository& repository, const ImageLayer& layer);
// The commits of all layers; throws Error(repository_damaged) where there is none.
std::vector<Checksum> layer_commits(const Repository& repository, const ImageLayout& layout);
// Whether COMMIT holds OSTree objects or a derived layer, as LAYER wants it; nothing else about it is judged.
bool is_of_kind(const Repository& repository, const ImageLayer& layer, const Checksum& commit);
// The refs that must be written so that LAYER is COMMIT and a layer of the other kind stays what it is. By imaged's
// record: a layer that was found by its content, or whose blob was read in part, gets no ref of the blob.
std::map<std::string, Checksum> refs_for(const Repository& repository, const ImageLayer& layer, const Checksum& commit);

}  // namespace imaged
