// SPDX-License-Identifier: Apache-2.0
#include "source/proxy/policy-check.hpp"

#include <utility>

#include "base/checksum.hpp"
#include "base/error.hpp"
#include "oci/manifest.hpp"
#include "source/skopeo/ca-certificates.hpp"
#include "source/skopeo/skopeo-error.hpp"
#include "source/skopeo/skopeo-run.hpp"

namespace imaged {

namespace {

// Enough for skopeo's error message.
constexpr std::size_t max_output_bytes = 64 * 1024;

}  // namespace

void check_policy(const ImageReference& image, const std::string& policy, const std::string& served,
                  const Cancellation& cancellation, const ProxyOptions& options) {
    SkopeoRequest request{.kind = SkopeoRequest::Kind::check_policy, .image = image.source(), .policy = policy};
    for (const auto& layer : Manifest::parse(served).layers) request.blobs.emplace(layer.digest.text(), layer.size);
    const auto skopeo = SkopeoRun::start(std::move(request), options);
    const auto output = skopeo->output(cancellation, max_output_bytes, "the policy check");
    if (skopeo->wait(cancellation) != 0)
        throw with_certificate_fault(skopeo->named(skopeo_error(fatal_message(output))), image.image(),
                                     skopeo->by_service());
    if (const auto checked = skopeo->checked_manifest(); checked != Digest(sha256(served)).text())
        throw Error(ErrorKind::digest_mismatch, "the containers policy allows the manifest " + checked + " of " +
                                                    image.image() + ", which is not the one that is to be fetched");
}

}  // namespace imaged
