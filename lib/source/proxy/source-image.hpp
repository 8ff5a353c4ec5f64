// SPDX-License-Identifier: Apache-2.0
// An image at its source: its manifest and config, verified and parsed. Nothing of its layers is fetched yet.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "oci/delta-artifact.hpp"
#include "oci/image-config.hpp"
#include "oci/image-reference.hpp"
#include "oci/layout.hpp"
#include "oci/manifest.hpp"
#include "source/proxy/image-proxy.hpp"

namespace imaged {

struct SourceImage {
    Digest digest;                           // of manifest_text
    std::string manifest_text, config_text;  // exactly as the source serves them
    Manifest manifest;
    ImageConfig config;
    ImageLayout layout;
    std::string signature_policy;  // what decided that the image may be used
    // The source has no image but a delta, which holds these documents and makes layers of the image.
    std::optional<DeltaArtifact> delta = {};

    // Throws Error(corrupt_input), Error(unsupported_image).
    static SourceImage of(std::string manifest_text, std::string config_text, std::string signature_policy);
    // The image that a delta makes. READ gives verified documents of the delta. Throws what READ throws, too.
    using ReadDocument = std::function<std::string(const Descriptor& blob, std::size_t limit, const std::string& what)>;
    static SourceImage of_delta(std::string_view artifact_text, std::string signature_policy, const ReadDocument& read);
};

// Whether manifest and config are what their digests say. Other programs store them as they would write them
// themselves.
bool has_original_documents(const SourceImage& image);

// Opens REFERENCE on a fresh PROXY. PINNED is the only digest that is accepted, where it is given. Throws what
// ImageProxy::open_image() throws, and Error(policy_rejected) for a signature source that the host's policy does not
// meet, Error(digest_mismatch), Error(corrupt_input), Error(unsupported_image).
SourceImage open_source_image(ImageProxy& proxy, const ImageReference& reference, const std::optional<Digest>& pinned,
                              const ProxyOptions& options);

// Names the rule of the containers policy, whose text is POLICY, that allows REFERENCE. Throws Error(policy_rejected)
// for a signature source that the policy does not meet.
std::string deciding_policy(std::string_view policy, const ImageReference& reference);
// Throws Error(policy_rejected) where REFERENCE wants what an image of LAYOUT cannot have.
void check_layout(const ImageReference& reference, const ImageLayout& layout);

}  // namespace imaged
