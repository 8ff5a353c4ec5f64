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
