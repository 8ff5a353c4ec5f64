// SPDX-License-Identifier: Apache-2.0
#include "source/proxy/source-image.hpp"

#include "base/checksum.hpp"
#include "base/error.hpp"
#include "oci/image-index.hpp"
#include "source/proxy/policy-check.hpp"
#include "source/skopeo/signature-policy.hpp"

namespace imaged {

namespace {

bool has_digest(std::string_view text, const Digest& digest) {
    return sha256(text) == digest.checksum();
}

// skopeo converts Docker's manifests; the text that is stored is the one that was signed and pinned.
std::string original_manifest(ImageProxy& proxy, const ImageReference& reference, ImageProxy::ManifestText served,
                              const ProxyOptions& options) {
    if (has_digest(served.text, served.digest)) return std::move(served.text);
    auto name = reference.image();
    if (reference.transport() == Transport::registry) {
        // The tag may have moved meanwhile, or lead to an index.
        name = reference.with_digest(served.digest).image();
    }
    auto text = raw_manifest(name, proxy.cancellation(), options);
    // A layout's tag may lead to an index too; the manifest is one of its blobs.
    if (const auto listed = listed_manifest(text, served.digest))
        text = proxy.small_blob(listed->digest, listed->size, max_manifest_bytes, "manifest");
    if (!has_digest(text, served.digest))
        throw Error(ErrorKind::digest_mismatch,
                    "the manifest of " + reference.image() + " does not have the digest " + served.digest.text());
    return text;
}

// ERROR of skopeo, or what the manifest says: skopeo does not name what is no container image.
Error explained(const Error& error, ImageProxy& proxy, const ImageReference& reference, const ProxyOptions& options) {
    if (error.kind() != ErrorKind::unsupported_image) return error;
    try {
        auto text = raw_manifest(reference.image(), proxy.cancellation(), options);
        const auto chosen = choose_image(text);
        if (chosen && reference.transport() == Transport::registry)
            text = raw_manifest(reference.with_digest(chosen->digest).image(), proxy.cancellation(), options);
        if (!Manifest::is_index(text)) Manifest::parse(text);
    } catch (const Error& found) {
        if (found.kind() == ErrorKind::unsupported_image) return found;
    }
    return error;
}

// A delta in a registry is found by the image that it makes, whose signatures are there.
bool is_local_delta(const ImageReference& reference, std::string_view manifest) {
    return reference.transport() != Transport::registry && DeltaArtifact::is_one(manifest);
}

// What decides is the policy for the place that the delta is in: no signature of the image can come with it.
void require_unsigned_allowed(const ImageReference& reference, const AppliedPolicy& policy) {
    if (policy.accepts_anything && reference.signature_source() != SignatureSource::ostree_remote) return;
    throw Error(ErrorKind::policy_rejected, reference.image() +
                                                " is a delta, which carries no signature of the image that it makes, "
                                                "and the policy that applies to it demands one");
}

ImageProxy::ManifestText served_manifest(ImageProxy& proxy, const ImageReference& reference,
                                         const ProxyOptions& options) {
    try {
        proxy.open_image(reference.source());
        return proxy.manifest();
    } catch (const Error& error) {
        throw explained(error, proxy, reference, options);
    }
}

}  // namespace

// The containers policy holds whatever the signature source is; no caller can switch it off.
std::string deciding_policy(std::string_view text, const ImageReference& reference) {
    const auto policy = applied_policy(text, reference);
    if (reference.signature_source() == SignatureSource::container_policy && policy.accepts_anything)
        throw Error(ErrorKind::policy_rejected,
                    reference.image() +
                        " needs a signature (ostree-image-signed:, or SignaturePolicy= of imaged.conf), "
                        "but the containers policy that applies to it is " +
                        policy.description);
    if (reference.signature_source() == SignatureSource::ostree_remote)
        return "keys of the OSTree remote " + *reference.remote() + ", " + policy.description;
    return policy.description;
}

// An OSTree remote signs commits: it cannot speak for what was put on top of one, nor for an image without any.
void check_layout(const ImageReference& reference, const ImageLayout& layout) {
    if (reference.signature_source() != SignatureSource::ostree_remote) return;
    const auto cannot = "the keys of the OSTree remote " + *reference.remote() + " cannot verify " + reference.image();
    if (!layout.ostree) throw Error(ErrorKind::policy_rejected, cannot + ": it is not made of an OSTree commit");
    for (const auto& layer : layout.layers) {
        if (layer.kind == LayerKind::derived)
            throw Error(ErrorKind::policy_rejected,
                        cannot + ": layer " + layer.blob.digest.text() + " is no part of the signed commit");
    }
}

static SourceImage assembled(const Digest& digest, std::string manifest_text, Manifest manifest,
                             std::string config_text, std::string signature_policy) {
    auto config = ImageConfig::parse(config_text);
    auto layout = ImageLayout::of(manifest, config);
    return {.digest = digest,
            .manifest_text = std::move(manifest_text),
            .config_text = std::move(config_text),
            .manifest = std::move(manifest),
            .config = std::move(config),
            .layout = std::move(layout),
            .signature_policy = std::move(signature_policy)};
}

SourceImage SourceImage::of(std::string manifest_text, std::string config_text, std::string signature_policy) {
    auto manifest = Manifest::parse(manifest_text);
    const Digest digest(sha256(manifest_text));
    return assembled(digest, std::move(manifest_text), std::move(manifest), std::move(config_text),
                     std::move(signature_policy));
}

SourceImage SourceImage::of_delta(std::string_view artifact_text, std::string signature_policy,
                                  const ReadDocument& read) {
    auto artifact = DeltaArtifact::parse(artifact_text);
    auto image = of(read(artifact.manifest, max_manifest_bytes, "manifest"),
                    read(artifact.config, max_config_bytes, "config"), std::move(signature_policy));
    artifact.require_target(image.manifest);
    image.delta = std::move(artifact);
    return image;
}

bool has_original_documents(const SourceImage& image) {
    return has_digest(image.manifest_text, image.digest) && has_digest(image.config_text, image.manifest.config.digest);
}

SourceImage open_source_image(ImageProxy& proxy, const ImageReference& reference, const std::optional<Digest>& pinned,
                              const ProxyOptions& options) {
    auto policy = deciding_policy(proxy.policy(), reference);
    const auto require_pinned = [&](const Digest& digest) {
        if (pinned && digest != *pinned)
            throw Error(ErrorKind::digest_mismatch,
                        reference.image() + " has the digest " + digest.text() + " now, not " + pinned->text());
    };
    auto served = served_manifest(proxy, reference, options);
    const auto digest = served.digest;
    if (is_local_delta(reference, served.text)) {
        require_unsigned_allowed(reference, applied_policy(proxy.policy(), reference));
        auto image = SourceImage::of_delta(served.text, std::move(policy),
                                           [&](const Descriptor& blob, std::size_t limit, const std::string& what) {
                                               return proxy.small_blob(blob.digest, blob.size, limit, what);
                                           });
        require_pinned(image.digest);
        return image;
    }
    require_pinned(digest);
    if (!proxy.enforces_policy() && !accepts_everything(proxy.policy()))
        check_policy(reference, proxy.policy(), served.text, proxy.cancellation(), options);
    auto manifest_text = original_manifest(proxy, reference, std::move(served), options);
    auto manifest = Manifest::parse(manifest_text);
    auto config_text = proxy.small_blob(manifest.config.digest, manifest.config.size, max_config_bytes, "config");
    auto image =
        assembled(digest, std::move(manifest_text), std::move(manifest), std::move(config_text), std::move(policy));
    check_layout(reference, image.layout);
    return image;
}

}  // namespace imaged
