// SPDX-License-Identifier: Apache-2.0
// Which requirement of the host's containers policy (containers-policy.json(5)) applies to an image. skopeo enforces
// the policy; this only tells what it is, because ostree-image-signed: must refuse a policy that accepts anything.
#pragma once

#include <string>
#include <string_view>

#include "oci/image-reference.hpp"

namespace imaged {

struct AppliedPolicy {
    bool accepts_anything = true;  // no requirement but insecureAcceptAnything
    std::string description;       // "insecureAcceptAnything (default)", "signedBy (docker: registry.example.org)"
};

// The policy text's requirement for IMAGE: that of the most specific scope, else of the transport, else the default.
// Throws Error(policy_rejected) when the text cannot be understood.
AppliedPolicy applied_policy(std::string_view policy, const ImageReference& image);

// The policy file that skopeo reads for this process; throws Error(policy_rejected) when there is none.
std::string load_host_policy();

}  // namespace imaged
