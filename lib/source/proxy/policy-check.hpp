// SPDX-License-Identifier: Apache-2.0
// Checks an image against the containers policy for versions of skopeo that do not do so as an image proxy: before
// protocol 0.2.6 it serves unsigned, wrongly signed and rejected images too.
//
// `skopeo copy` enforces the policy, signatures by lookaside directories and registries included, and then would fetch
// every layer. So it is made to copy into an OCI layout that seems to have all of them: there it fetches manifest and
// config only. The manifest that it found good must be the one that the proxy served.
#pragma once

#include <string>

#include "base/cancellation.hpp"
#include "oci/image-reference.hpp"
#include "source/proxy/image-proxy.hpp"

namespace imaged {

// SERVED is the manifest as the proxy hands it out, converted or not. Throws Error(policy_rejected) with skopeo's
// reason, Error(digest_mismatch) when the image has changed meanwhile, and what skopeo_error() makes of anything else.
void check_policy(const ImageReference& image, const std::string& policy, const std::string& served,
                  const Cancellation& cancellation, const ProxyOptions& options);

}  // namespace imaged
