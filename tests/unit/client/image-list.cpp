// SPDX-License-Identifier: Apache-2.0
#include "image-list.hpp"

#include "bus/connection.hpp"
#include "catch.hpp"

using namespace imagectl;

TEST_CASE("a list of images is read from its document") {
    const std::string document = R"({"images": [
        {"size": 12, "image": "docker://a/b:1", "digest": "sha256:ab", "state": "damaged", "created": 5, "layers": 3, "new": [1]},
        {}, {"image": 7, "size": -1, "created": "now", "layers": null, "version": {"a": "b"}}], "more": {}})";
    const ImageList images(document);
    REQUIRE(images.size() == 3);
    CHECK(*images[0].text("image") == "docker://a/b:1");
    CHECK(*images[0].text("digest") == "sha256:ab");
    CHECK(*images[0].text("state") == "damaged");
    CHECK(images[0].number("created") == 5U);
    CHECK(images[0].number("layers") == 3U);
    CHECK(images[0].number("size") == 12U);
    CHECK(images[0].text("size") == nullptr);
    CHECK_FALSE(images[0].number("image"));
    for (const auto at : {1, 2}) {
        for (const char* key : {"image", "digest", "version", "state", "a"}) CHECK(images[at].text(key) == nullptr);
        for (const char* key : {"created", "layers", "size", "new"}) CHECK_FALSE(images[at].number(key));
    }
    CHECK(ImageList(R"({"images": []})").size() == 0);
    const std::string nested = std::string(100000, '[') + std::string(100000, ']');
    CHECK(ImageList(R"({"images": [{"image": )" + nested + "}]}").size() == 1);
}

TEST_CASE("texts of an image are what their escapes stand for, and versions that are kept are apart") {
    const ImageList images(
        R"({"images": [{"image": "a\u00e9\n\"b\"\ud83d\ude00", "kept": [{"digest": "sha256:1", "version": "1\/2"}, {}], "digest":
        "sha256:2", "digest": "sha256:3", "size": 18446744073709551615, "layers": 18446744073709551616}]})");
    REQUIRE(images.size() == 1);
    const auto& image = images[0];
    CHECK(*image.text("image") == "aé\n\"b\"😀");
    CHECK(*image.text("digest") == "sha256:3");
    CHECK(image.number("size") == 18446744073709551615U);
    CHECK_FALSE(image.number("layers"));
    REQUIRE(image.kept.size() == 2);
    CHECK(*image.kept[0].text("digest") == "sha256:1");
    CHECK(*image.kept[0].text("version") == "1/2");
    CHECK(image.kept[1].text("digest") == nullptr);
}

TEST_CASE("what is no list of images is an error") {
    for (const std::string& document :
         {std::string(), std::string("{"), std::string("[]"), std::string("7"), std::string("{}"),
          std::string(R"({"images": {}})"), std::string(R"([{"images": []}])"), std::string(R"({"images": [[{}]]})"),
          std::string(R"({"images": [{}, "a"]})"), std::string(R"({"images": []} x)"),
          std::string(R"({"images": [{"a": "\ud83d"}]})"), std::string(R"({"images": [{"a": ")")}) {
        INFO(document.substr(0, 100));
        CHECK_THROWS_AS(ImageList(document), BusError);
    }
}
