// SPDX-License-Identifier: Apache-2.0
#include "source/skopeo/signature-policy.hpp"

#include "base/error.hpp"
#include "catch.hpp"

using namespace imaged;

namespace {

// A policy whose transport TRANSPORT has SCOPES, each signed; everything else accepts anything.
std::string policy(const std::string& transport, const std::string& scope) {
    return R"({"default":[{"type":"insecureAcceptAnything"}],"transports":{")" + transport + R"(":{")" + scope +
           R"(":[{"type":"signedBy"}]}}})";
}

bool applies(const std::string& transport, const std::string& scope, const std::string& image) {
    return !applied_policy(policy(transport, scope), ImageReference::parse(image)).accepts_anything;
}

}  // namespace

TEST_CASE("a registry image is found under its tag, repository, namespaces, host and wildcards") {
    const std::string image = "docker://registry.example.org:5000/team/app:1";
    for (const char* scope :
         {"registry.example.org:5000/team/app:1", "registry.example.org:5000/team/app",
          "registry.example.org:5000/team", "registry.example.org:5000", "*.example.org", "*.org", ""})
        CHECK(applies("docker", scope, image));
    for (const char* scope :
         {"registry.example.org", "registry.example.org:5000/team/app:2", "*.com", "registry.example.org:5000/te"})
        CHECK_FALSE(applies("docker", scope, image));
}

TEST_CASE("a name with a tag and a digest is found under the digest, which is what is fetched") {
    const auto digest = "@sha256:" + std::string(64, '0');
    const auto image = "docker://example.org/app:1" + digest;
    CHECK(applies("docker", "example.org/app" + digest, image));
    CHECK(applies("docker", "example.org/app", image));
    CHECK_FALSE(applies("docker", "example.org/app:1", image));
}

TEST_CASE("Docker Hub's short names are the same as the full ones") {
    for (const char* image : {"docker://debian", "docker://docker.io/debian",
                              "docker://docker.io/library/debian:latest", "docker://index.docker.io/library/debian"})
        CHECK(applies("docker", "docker.io/library/debian:latest", image));
    CHECK(applies("docker", "docker.io/team/app", "docker://team/app:2"));
}

TEST_CASE("a layout has its directory and the parents of that, whatever the tag") {
    CHECK(applies("oci", "/nowhere/images/host", "oci:/nowhere/images/host:stable"));
    CHECK(applies("oci", "/nowhere/images", "oci:/nowhere/images/../images/./host"));
    CHECK_FALSE(applies("oci", "/nowhere/images/host:stable", "oci:/nowhere/images/host:stable"));
}

TEST_CASE("for storage of other programs any scope may be the one that accepts anything") {
    const std::string text = R"({"default":[{"type":"reject"}],"transports":{"containers-storage":{)"
                             R"("":[{"type":"signedBy"}],"[overlay@/x]":[{"type":"insecureAcceptAnything"}]}}})";
    CHECK(applied_policy(text, ImageReference::parse("containers-storage:debian")).accepts_anything);
}

TEST_CASE("a policy demands nothing only when none of its requirements does") {
    CHECK(accepts_everything(R"({"default":[{"type":"insecureAcceptAnything"}]})"));
    CHECK(accepts_everything(
        R"({"default":[{"type":"insecureAcceptAnything"}],"transports":{"docker":{"":[{"type":"insecureAcceptAnything"}]}}})"));
    CHECK_FALSE(accepts_everything(policy("docker", "example.org")));
    CHECK_FALSE(accepts_everything(R"({"default":[{"type":"reject"}]})"));
    CHECK_FALSE(accepts_everything("{}"));
    CHECK_FALSE(accepts_everything("nonsense"));
}

TEST_CASE("a policy that cannot be understood rejects") {
    const auto image = ImageReference::parse("docker://example.org/app");
    for (const char* text : {"nonsense", "[]", "{}", R"({"default":[]})"}) {
        try {
            applied_policy(text, image);
            FAIL("accepted " << text);
        } catch (const Error& error) {
            CHECK(error.kind() == ErrorKind::policy_rejected);
        }
    }
}
