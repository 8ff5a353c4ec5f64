// SPDX-License-Identifier: Apache-2.0
#include "source/skopeo-error.hpp"

#include <string>

#include "catch.hpp"

using namespace imaged;

TEST_CASE("what skopeo says of a policy is PolicyRejected, whichever of its versions says it") {
    for (const std::string message : {"Source image rejected: A signature was required, but no signature exists",
                                      "A signature was required, but no signature exists",
                                      "Running image docker://registry.example/image:1 is rejected by policy.",
                                      "None of the signatures were accepted, reasons: Signature for identity a is not "
                                      "accepted; Signature by key b is "
                                      "not accepted",
                                      "Signature by key 0123456789ABCDEF is not accepted",
                                      R"(Signature for identity "registry.example/other:1" is not accepted)",
                                      "Signature for digest sha256:00 does not match",
                                      R"(Invalid GPG signature: gpgme.Signature{Summary:128, Fingerprint:"AB"})",
                                      "open /etc/containers/policy.json: no such file or directory"}) {
        INFO(message);
        CHECK(skopeo_error(message).kind() == ErrorKind::policy_rejected);
    }
}

TEST_CASE("other words of skopeo keep their own meaning") {
    CHECK(skopeo_error("reading manifest 1 in registry.example/image: manifest unknown").kind() ==
          ErrorKind::not_found);
    CHECK(skopeo_error("unauthorized: authentication required").kind() == ErrorKind::source_denied);
    CHECK(skopeo_error("something that nobody has seen yet").kind() == ErrorKind::failed);
    CHECK(std::string(skopeo_error("some text").what()) == "some text");
}
