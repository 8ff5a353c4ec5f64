// SPDX-License-Identifier: Apache-2.0
// Delta artifacts: OCI manifests that hold an image's manifest, its config, and what makes its layers out of the files
// of another image (https://github.com/containers/oci-delta). Nothing here is verified: what a delta makes has to have
// the digests that the image's own manifest and config say.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "oci/digest.hpp"
#include "oci/manifest.hpp"

namespace imaged {

namespace delta {

// The artifact: an OCI manifest with this `artifactType`, whose `subject` is the manifest of the image that it makes.
inline constexpr std::string_view artifact_type = "application/vnd.io.github.containers.oci-delta.v1";

// Annotation of the manifest: the digest of the config of the image that has to be stored.
inline constexpr std::string_view source_config_annotation = "io.github.containers.delta.source-config";

// Annotations of the artifact's layers: what each holds, and which layer of the image it makes.
inline constexpr std::string_view content_annotation = "io.github.containers.delta.content";
inline constexpr std::string_view target_layer_annotation = "io.github.containers.delta.to";
inline constexpr std::string_view manifest_content = "image-manifest", config_content = "image-config",
                                  layer_content = "image-layer";

// Media type of a layer that is a tar-diff. A layer of another type is the layer itself.
inline constexpr std::string_view tar_diff_type = "application/vnd.tar-diff";

// The tag under which a registry has the index of the artifacts about the manifest DIGEST: the fallback of the
// distribution spec for registries without the referrers API.
std::string referrers_tag(const Digest& digest);

}  // namespace delta

// The part of a delta that makes one layer of the image.
struct DeltaLayer {
    Descriptor blob;
    bool tar_diff = false;  // else the blob is the layer, maybe in another compression
};

struct DeltaArtifact {
    Digest digest;                      // of the artifact itself
    Digest source_config;               // of the image whose files are needed
    Descriptor manifest, config;        // the image's own documents, as blobs of the artifact
    std::map<Digest, DeltaLayer> made;  // by the digest of the image's layer

    // Whether the manifest TEXT is one of a delta. False for what is no JSON object.
    static bool is_one(std::string_view text);
    // Throws Error(corrupt_input), Error(unsupported_image).
    static DeltaArtifact parse(std::string_view text);
    // Throws Error(corrupt_input) unless this makes layers of TARGET only, and has its config.
    void require_target(const Manifest& target) const;
};

// A delta that an index lists.
struct ListedDelta {
    Descriptor artifact;
    std::optional<Digest> source_config;  // nullopt if only the artifact itself says
};
struct DeltaListing {
    std::vector<ListedDelta> deltas;
    std::optional<std::string> problem;  // of the first entry that was left out because it is not well-formed
};
// Returns the deltas that the index TEXT lists. Throws Error(corrupt_input) if TEXT is no index.
DeltaListing listed_deltas(std::string_view text);

}  // namespace imaged
