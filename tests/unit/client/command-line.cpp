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
