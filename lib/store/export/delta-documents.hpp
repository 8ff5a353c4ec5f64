// SPDX-License-Identifier: Apache-2.0
// The documents of a delta artifact (oci/delta-artifact.hpp): its manifest, and the index by which others find it.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json-fwd.hpp"
#include "oci/digest.hpp"
#include "oci/manifest.hpp"

namespace imaged {

inline constexpr const char *oci_manifest_type = "application/vnd.oci.image.manifest.v1+json",
                            *oci_index_type = "application/vnd.oci.image.index.v1+json",
                            *oci_config_type = "application/vnd.oci.image.config.v1+json";

// A blob that makes a layer of the target.
struct DeltaBlob {
    Descriptor blob;  // with its media type
    Digest target;    // of the layer's blob in the target
};

// The artifact's config, which has no content.
inline constexpr std::string_view empty_config = "{}";

// Whether ENTRY of an index describes the blob with DIGEST.
bool is_of_digest(const nlohmann::ordered_json& entry, const Digest& digest);

// SUBJECT, MANIFEST and CONFIG describe the target's documents; MANIFEST is SUBJECT as a blob of the artifact.
std::string delta_manifest(const Descriptor& subject, const Descriptor& config, const Digest& source_config,
                           const std::vector<DeltaBlob>& layers);

// The index EXISTING, if there is one, with ARTIFACT, whose source is the image with the config SOURCE_CONFIG, as well.
// Other entries of EXISTING stay. Throws Error(corrupt_input) for a text that is no index.
std::string referrers_index(const std::optional<std::string>& existing, const Descriptor& artifact,
                            const Digest& source_config);
// TEXT, an index, without the types of artifacts, which programs before OCI 1.1 leave out. Returns nullopt if another
// artifact than a delta would lose its type.
std::optional<std::string> without_artifact_types(std::string_view text, const Digest& own);

}  // namespace imaged
