// SPDX-License-Identifier: Apache-2.0
#include "verification.hpp"

#include "oci/image-reference.hpp"
#include "source/signature-policy.hpp"

namespace imaged {

bool is_unverified(const job::Request& request, const job::Settings& settings) {
    const auto image = ImageReference::parse(request.image);
    switch (image.signature_source()) {
        case SignatureSource::container_policy:
        case SignatureSource::ostree_remote: return false;
        case SignatureSource::unverified: return true;
        case SignatureSource::configured: break;
    }
    if (settings.signature_policy == job::SignaturePolicy::signature) return false;
    try {
        return applied_policy(load_host_policy(), image).accepts_anything;
    } catch (...) {
        return true;
    }
}

bool fetches_image(job::Kind kind) {
    return kind == job::Kind::import || kind == job::Kind::pull;
}

void demand_signature(job::Request& request) {
    const auto image = ImageReference::parse(request.image);
    if (image.signature_source() == SignatureSource::configured)
        request.image = image.with(SignatureSource::container_policy).canonical();
}

}  // namespace imaged
