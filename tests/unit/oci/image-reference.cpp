// SPDX-License-Identifier: Apache-2.0
#include "oci/image-reference.hpp"

#include "catch.hpp"

using namespace imaged;

TEST_CASE("skopeo is given the digest alone of a name with a tag and a digest", "[image-reference]") {
    const auto source = [](const char* text) { return ImageReference::parse(text).source(); };
    CHECK(source("docker://host:5000/a/b:t@sha256:0") == "docker://host:5000/a/b@sha256:0");
    CHECK(source("docker://host:5000/a/b@sha256:0") == "docker://host:5000/a/b@sha256:0");
    CHECK(source("docker://host:5000/a/b:t") == "docker://host:5000/a/b:t");
    CHECK(source("docker://b:t@sha256:0") == "docker://b@sha256:0");
    CHECK(source("oci:/images:t@x") == "oci:/images:t@x");
    CHECK(ImageReference::parse("docker://b:t@sha256:0").image() == "docker://b:t@sha256:0");
}
