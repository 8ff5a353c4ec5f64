// SPDX-License-Identifier: Apache-2.0
#include "source/skopeo/skopeo-error.hpp"

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
                                      "open /etc/containers/policy.json: no such file or directory",
                                      R"(invalid policy in "/srv/p": Unknown policy requirement type "bogus")"}) {
        INFO(message);
        CHECK(skopeo_error(message).kind() == ErrorKind::policy_rejected);
    }
}

TEST_CASE("what is wrong with an archive is not taken for a registry that cannot be reached") {
    const auto kind = [](const char* message) { return skopeo_error(message).kind(); };
    // As skopeo 1.9 and 1.18 say it.
    for (const char* message : {"loading tar component manifest.json: unexpected EOF",
                                "loading tar component \"manifest.json\": file does not exist"}) {
        CHECK(kind(message) == ErrorKind::corrupt_input);
        CHECK(std::string(skopeo_error(message).what()).find("oci-archive:FILE") != std::string::npos);
    }
    CHECK(kind("creating temp directory: untarring file \"/tmp/oci1\": unexpected EOF") == ErrorKind::corrupt_input);
    CHECK(kind("open /var/tmp/imaged-job-a/oci1/index.json: no such file or directory") == ErrorKind::corrupt_input);
    CHECK(kind("open /srv/layout/index.json: no such file or directory") == ErrorKind::not_found);
    CHECK(kind("untarring file \"/tmp/oci1\": write /tmp/x: no space left on device") == ErrorKind::no_space);
    CHECK(kind("Tag \"registry.example/app:2\" not found") == ErrorKind::not_found);
    CHECK(kind("Unexpected tar manifest.json: expected 1 item, got 2") == ErrorKind::invalid_reference);
}

TEST_CASE("other words of skopeo keep their own meaning") {
    CHECK(skopeo_error("reading manifest 1 in registry.example/image: manifest unknown").kind() ==
          ErrorKind::not_found);
    CHECK(skopeo_error("unauthorized: authentication required").kind() == ErrorKind::source_denied);
    CHECK(skopeo_error("something that nobody has seen yet").kind() == ErrorKind::failed);
    CHECK(std::string(skopeo_error("some text").what()) == "some text");
}

TEST_CASE("a file of this host that cannot be read is not taken for a source that fails") {
    const auto kind = [](const char* message) { return skopeo_error(message).kind(); };
    CHECK(
        kind("loading registries configuration: loading registries configuration \"/etc/containers/registries.conf\": "
             "toml: line 0: unexpected EOF; expected key separator '='") == ErrorKind::failed);
    CHECK(
        kind("parsing /etc/containers/registries.d/x.yaml: error unmarshaling JSON: while decoding JSON: json: cannot "
             "unmarshal array into Go struct field") == ErrorKind::failed);
    CHECK(kind("Error loading trust policy: invalid policy in \"/proc/self/fd/5\": Unknown policy requirement type "
               "\"bogus\"") == ErrorKind::policy_rejected);
}

TEST_CASE("what skopeo says is one line") {
    CHECK(std::string(skopeo_error("1 error occurred:\n\t* reading\n\n").what()) == "1 error occurred: * reading");
}

TEST_CASE("what skopeo printed is cut to its last message, without the quotes around it") {
    CHECK(fatal_message("time=\"x\" level=warning msg=\"a\"\ntime=\"x\" level=fatal msg=\"copying \\\"b\\\": no\"\n") ==
          "copying \"b\": no");
    CHECK(fatal_message("level=fatal msg=denied\n") == "denied");
    CHECK(fatal_message("no log line") == "no log line");
}
