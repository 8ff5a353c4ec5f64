// SPDX-License-Identifier: Apache-2.0
#include "job/settings.hpp"

namespace imaged::job {

std::string_view to_string(SignaturePolicy policy) {
    switch (policy) {
        case SignaturePolicy::containers_policy: return "containers-policy";
        case SignaturePolicy::signature: return "signature";
        case SignaturePolicy::signature_by_default: return "signature-by-default";
    }
    return "";
}

}  // namespace imaged::job
