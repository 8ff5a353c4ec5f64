// SPDX-License-Identifier: Apache-2.0
// Finds a delta for an update: one that its source offers, and the stored image that it starts from.
//
// A source offers a delta under the tag "sha256-HEX" of the update's manifest, an index of artifacts (distribution
// spec, "Referrers Tag Schema"). What is found there is a hint; it is not trusted.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/cancellation.hpp"
#include "oci/delta-artifact.hpp"
#include "source/archive/image-reader.hpp"
#include "source/proxy/source-image.hpp"
#include "store/fetch/import-plan.hpp"
#include "store/repository/repository.hpp"

namespace imaged {

// A delta that can be applied here.
struct UsableDelta {
    DeltaArtifact artifact;
    Checksum source_tree;  // of the merged root of the image that it starts from
};

// The stored image with the config SOURCE_CONFIG; PREVIOUS is looked at first. Nullopt if there is none.
std::optional<Checksum> tree_of_config(const Repository& repository, const StoredImage* previous,
                                       const Digest& source_config);

// The best delta for what PLAN says is missing of IMAGE, which READER has opened; nullopt if the source offers none
// that takes fewer bytes than the layers. REFUSED gets a text for each that starts from a stored image and cannot be
// used, and for a list of them that cannot be read. Throws Error(cancelled) only.
std::optional<UsableDelta> find_delta(ImageReader& reader, const Repository& repository, const SourceImage& image,
                                      const ImportPlan& plan, const Cancellation& cancellation,
                                      std::vector<std::string>& refused);

}  // namespace imaged
