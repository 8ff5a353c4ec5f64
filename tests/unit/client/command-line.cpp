// SPDX-License-Identifier: Apache-2.0
#include "command-line.hpp"

#include <filesystem>

#include "catch.hpp"

using namespace imagectl;

TEST_CASE("paths of local transports become absolute, names of registries stay", "[command-line]") {
    const auto here = std::filesystem::current_path().string();
    CHECK(absolute_image("oci:images/host:stable") == "oci:" + here + "/images/host:stable");
    CHECK(absolute_image("oci:./host") == "oci:" + here + "/host");
    CHECK(absolute_image("ostree-unverified-image:oci:host:v1") == "ostree-unverified-image:oci:" + here + "/host:v1");
    CHECK(absolute_image("oci-archive:a.tar") == "oci-archive:" + here + "/a.tar");
    for (const char* image : {"oci:/srv/host:stable", "docker://registry.example/oci:latest",
                              "docker://registry.example:5000/dir:1", "containers-storage:x", "oci:"})
        CHECK(absolute_image(image) == image);
}

TEST_CASE("a reference without a transport is one of a registry, a short name one of docker.io", "[command-line]") {
    CHECK(with_transport("debian:12") == "docker://docker.io/library/debian:12");
    CHECK(with_transport("debian") == "docker://docker.io/library/debian");
    CHECK(with_transport("library/debian:12") == "docker://docker.io/library/debian:12");
    CHECK(with_transport("quay.io/a/b") == "docker://quay.io/a/b");
    CHECK(with_transport("localhost/a:1") == "docker://localhost/a:1");
    CHECK(with_transport("127.0.0.1:5000/a") == "docker://127.0.0.1:5000/a");
    CHECK(with_transport("a@sha256:00") == "docker://docker.io/library/a@sha256:00");
    for (const char* image : {"", "docker://a/b", "registry:a/b", "oci:x", "dir:x", "ostree-unverified-image:oci:x",
                              "/srv/x", "./x", "http://a/b", "containers-storage:x"})
        CHECK(with_transport(image) == image);
}
