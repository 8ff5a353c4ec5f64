// SPDX-License-Identifier: Apache-2.0
// Finds the requirement of the host's containers policy (containers-policy.json(5)) that applies to an image. skopeo
// enforces the policy; this only finds the requirement, because ostree-image-signed: must refuse a policy that accepts
// anything. skopeo gets exactly the text that was read here, so both use the same policy.
#pragma once

#include <string>
#include <string_view>

#include "oci/image-reference.hpp"

namespace imaged {

// NAME, of an image in a registry, as policy and registries.conf spell it: Docker Hub's short names in full, with the
// tag or digest (github.com/distribution/reference, ParseNormalizedNamed).
std::string full_registry_name(const std::string& name);

struct AppliedPolicy {
    bool accepts_anything = true;  // no requirement but insecureAcceptAnything
    std::string requirements;      // the JSON text of the requirements
    std::string description;       // "insecureAcceptAnything (default)", "signedBy (docker: registry.example.org)"
};

// The policy text's requirement for IMAGE: that of the most specific scope, else of the transport, else the default.
// Throws Error(policy_rejected) when the text cannot be understood.
AppliedPolicy applied_policy(std::string_view policy, const ImageReference& image);

// Whether the policy text demands nothing of any image of any transport.
bool accepts_everything(std::string_view policy);

// The text of the policy: of the file that the administrator named for imaged (the variable CONTAINERS_POLICY), else of
// the user's (~/.config/containers/policy.json), else of the host's (/etc/containers/policy.json). Throws
// Error(policy_rejected) when there is none.
std::string load_host_policy();
// The file that load_host_policy() reads, for people.
std::string host_policy_path();

}  // namespace imaged
