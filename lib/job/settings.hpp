// SPDX-License-Identifier: Apache-2.0
// The settings of imaged.conf that apply to every job; the worker gets them with the request. They do not count when
// two requests are compared.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "base/enum-names.hpp"

namespace imaged::job {

// The signature policy for references that do not demand a signature themselves.
enum class SignaturePolicy {
    containers_policy,     // what containers-policy.json(5) says, whatever that is
    signature,             // as ostree-image-signed:, a policy that accepts anything is not enough
    signature_by_default,  // the same, unless the reference says that it asks for none (ostree-unverified-…:)
};
constexpr auto names_of(SignaturePolicy) {
    return enum_names<SignaturePolicy>({{SignaturePolicy::containers_policy, "containers-policy"},
                                        {SignaturePolicy::signature, "signature"},
                                        {SignaturePolicy::signature_by_default, "signature-by-default"}});
}

// Whether an image under POLICY needs a signature whose reference names no signature source, or is UNVERIFIED by one.
constexpr bool demands_signature(SignaturePolicy policy, bool unverified) {
    return policy == SignaturePolicy::signature || (policy == SignaturePolicy::signature_by_default && !unverified);
}

struct Settings {
    SignaturePolicy signature_policy = SignaturePolicy::containers_policy;
    unsigned layers_at_once = 2;
    std::chrono::milliseconds stall_time = std::chrono::seconds(30);
    // Bytes a second that a job reads from the network, and one that runs in the background; absent: as many as come.
    std::optional<std::uint64_t> rate, background_rate;
    unsigned retries = 0;  // of a job whose source could not be reached
    unsigned keep = 0;     // versions of an image that stay beside the current one
    // Bytes of the file system that stay free, beside the repository's own min-free-space.
    std::uint64_t disk_reserve = 0;
    // Limits of an unpacked image: bytes of a layer, bytes of all layers, and bytes to one compressed byte.
    std::uint64_t layer_bytes = 512ULL << 30;
    std::uint64_t image_bytes = 1024ULL << 30;
    std::uint64_t expansion_ratio = 400;
    bool confined = false;  // the worker gives up what its job does not need
    // The socket of the service that talks to registries; absent: the worker does.
    std::optional<std::string> skopeo_service;
    // Whether the job may log in with the host's registry credentials. The daemon decides it for each job.
    bool host_credentials = true;
    // Whether the job may open images by paths and other local names that are stored. Likewise.
    bool local_sources = true;
    bool operator==(const Settings&) const = default;

    static void fields(auto& self, auto& fields) {
        fields("signature-policy", self.signature_policy);
        fields("layers-at-once", self.layers_at_once);
        fields("stall-milliseconds", self.stall_time);
        fields("rate", self.rate);
        fields("background-rate", self.background_rate);
        fields("retries", self.retries);
        fields("keep", self.keep);
        fields("disk-reserve", self.disk_reserve);
        fields("layer-bytes", self.layer_bytes);
        fields("image-bytes", self.image_bytes);
        fields("expansion-ratio", self.expansion_ratio);
        fields("confined", self.confined);
        fields("host-credentials", self.host_credentials);
        fields("local-sources", self.local_sources);
        fields("skopeo-service", self.skopeo_service);
    }
};

}  // namespace imaged::job
