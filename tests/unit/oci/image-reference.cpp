// SPDX-License-Identifier: Apache-2.0
#include "oci/image-reference.hpp"

#include <string>

#include "base/error.hpp"
#include "catch.hpp"

using namespace imaged;

TEST_CASE("skopeo is given the digest alone of a name with a tag and a digest", "[image-reference]") {
    const auto source = [](const std::string& text) { return ImageReference::parse(text).source(); };
    const auto digest = "@sha256:" + std::string(64, '0');
    CHECK(source("docker://host:5000/a/b:t" + digest) == "docker://host:5000/a/b" + digest);
    CHECK(source("docker://host:5000/a/b" + digest) == "docker://host:5000/a/b" + digest);
    CHECK(source("docker://host:5000/a/b:t") == "docker://host:5000/a/b:t");
    CHECK(source("docker://b:t" + digest) == "docker://b" + digest);
    CHECK(source("oci:/images:t@x") == "oci:/images:t@x");
    CHECK(ImageReference::parse("docker://b:t" + digest).image() == "docker://b:t" + digest);
}

TEST_CASE("an @ in the name of a registry's image stands before a digest only, and no password is repeated",
          "[image-reference]") {
    const std::string prefixes[] = {"docker://",
                                    "registry:",
                                    "ostree-image-signed:docker://",
                                    "https://",
                                    "docker:",
                                    "ostree-unverified-image:registry:",
                                    "ostree-unverified-registry:",
                                    "ostree-remote-registry:remote:",
                                    "ostree-remote-image:remote:docker://",
                                    ""};
    const std::string names[] = {"user:hunter2@host.example",
                                 "user:hunter2@host.example:5000",
                                 "user:hunter2@host/x",
                                 "user:hunter2@host:5000/x:t",
                                 "https://user:hunter2@host/x",
                                 "user:hunter2/7@host/x",
                                 "user:hunter2@cafe:5000",
                                 "user:hunter2@host/x@sha256:" + std::string(64, '0'),
                                 "hunter2@",
                                 "hunter2@:5000",
                                 "@hunter2",
                                 "hunter2 @x",
                                 "host/x@hunter2"};
    for (const auto& prefix : prefixes) {
        for (const auto& name : names) {
            INFO(prefix + name);
            std::string message;
            try {
                ImageReference::parse(prefix + name);
            } catch (const Error& error) {
                CHECK(error.kind() == ErrorKind::invalid_reference);
                message = error.what();
            }
            CHECK(message.starts_with("invalid image reference"));
            CHECK(message.find("hunter2") == std::string::npos);
        }
    }
}

TEST_CASE("a name that no registry takes is refused before anybody is asked", "[image-reference]") {
    const auto digest = "@sha256:" + std::string(64, '0');
    for (const auto& name : {std::string("debian"), std::string("debian:12"), std::string("library/debian:12_a.B-c"),
                             std::string("quay.io/a/b"), std::string("localhost/a"),
                             std::string("host:5000/a.b_c__d---e:t"), std::string("[::1]:5000/a"),
                             std::string("Host/a"), std::string("registry.example.org/a:") + std::string(128, 'x'),
                             "a/b:t" + digest, "a" + digest, std::string("127.0.0.1:5000")}) {
        INFO(name);
        CHECK_NOTHROW(ImageReference::parse("docker://" + name).require_registry_name());
    }
    for (const auto& name : {std::string("Debian"),
                             std::string("quay.io/A/b"),
                             std::string("a:"),
                             std::string("a/"),
                             std::string("quay.io//a"),
                             std::string("a:b/c:"),
                             std::string("docker://a"),
                             std::string("'a'"),
                             std::string("host/\"a\""),
                             std::string("a?x=1"),
                             std::string("a:t:u"),
                             std::string("h$st.example/a"),
                             std::string("a..b"),
                             std::string("a.-b"),
                             std::string("-a"),
                             std::string("a___b"),
                             std::string("a_"),
                             std::string("a:-t"),
                             std::string("a:t/"),
                             "a:" + std::string(129, 'x'),
                             "A" + digest}) {
        INFO(name);
        const auto reference = ImageReference::parse("docker://" + name);
        CHECK_THROWS_AS(reference.require_registry_name(), Error);
    }
    CHECK_NOTHROW(ImageReference::parse("oci:/Images/A b:T").require_registry_name());
}

TEST_CASE("the same repository with another tag or digest", "[image-reference]") {
    const auto digest = Digest::parse("sha256:" + std::string(64, 'a'));
    struct Case {
        const char *image, *place;
    };
    for (const auto& [image, place] : {Case{"docker://a.example/b:t", "docker://a.example/b"},
                                       Case{"docker://a.example:5000/b/c", "docker://a.example:5000/b/c"},
                                       Case{"ostree-image-signed:docker://a/b@sha256:"
                                            "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
                                            "docker://a/b"},
                                       Case{"docker://a:1/b:t@sha256:"
                                            "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
                                            "docker://a:1/b"}}) {
        INFO(image);
        const auto reference = ImageReference::parse(image);
        CHECK(reference.with_digest(digest).image() == place + std::string("@") + digest.text());
        CHECK(reference.with_tag("x").image() == place + std::string(":x"));
        CHECK(reference.with_tag("x").signature_source() == reference.signature_source());
        CHECK(ImageReference::parse("oci:/a").with_source_of(reference).canonical() ==
              ImageReference::parse("oci:/a").with(reference.signature_source()).canonical());
    }
    // An @ in the path of a layout is a part of it.
    CHECK(ImageReference::parse("oci:/a@b/c:t").with_tag("x").image() == "oci:/a@b/c:x");
    CHECK(ImageReference::parse("oci:/a@b/c").with_tag("x").image() == "oci:/a@b/c:x");
}
