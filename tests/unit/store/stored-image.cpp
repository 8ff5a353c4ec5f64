// SPDX-License-Identifier: Apache-2.0
#include "store/records/stored-image.hpp"

#include "catch.hpp"
#include "image-builder.hpp"
#include "store/records/layer-ref.hpp"

using namespace imaged;

TEST_CASE("an image is found by its name, and what is wrong with it is told under its name") {
    TemporaryRepository home;
    ImageBuilder images(home);
    const auto layer = images.layer("layer", {{"usr/file", "text"}});
    const auto commit = images.image("oci:/images:a", {layer});
    const auto name = ImageReference::parse("oci:/images:a"), other = ImageReference::parse("oci:/images:b");
    REQUIRE(StoredImage::find(home.repository, name).merge_commit == commit);
    REQUIRE_THROWS_WITH(StoredImage::find(home.repository, other), "image oci:/images:b is not in the repository");
    REQUIRE(no_such_image(other).kind() == ErrorKind::not_found);
    home.repository.set_ref(image_ref(other), layer.commit);
    REQUIRE_THROWS_WITH(StoredImage::find(home.repository, other),
                        containing("image oci:/images:b: merge commit " + layer.commit.hex() + ": it has no metadata"));
}

TEST_CASE("the commits of an image's layers are all there, or the one that is missing is named") {
    TemporaryRepository home;
    ImageBuilder images(home);
    const auto lower = images.layer("lower", {{"usr/file", "text"}}),
               upper = images.layer("upper", {{"etc/file", "x"}});
    images.image("oci:/images:a", {lower, upper});
    const auto image = StoredImage::find(home.repository, ImageReference::parse("oci:/images:a"));
    REQUIRE(layer_commits(home.repository, image.layout) == std::vector<Checksum>{lower.commit, upper.commit});
    home.repository.set_ref(upper.ref(), std::nullopt);
    REQUIRE_THROWS_WITH(layer_commits(home.repository, image.layout), "layer " + upper.digest.text() + " is missing");
}
