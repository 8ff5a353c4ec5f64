// SPDX-License-Identifier: Apache-2.0
#include "image-list.hpp"

#include "bus/connection.hpp"
#include "catch.hpp"

using namespace imagectl;

TEST_CASE("a list of images is read from its document") {
    const std::string document = R"({"images": [
        {"size": 12, "image": "docker://a/b:1", "digest": "sha256:ab", "state": "damaged", "created": 5, "layers": 3, "new": [1]},
        {}, {"image": 7, "size": -1, "created": "now", "layers": null, "version": {"a": "b"}}], "more": {}})";
    const auto images = listed_images(document);
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
    CHECK(listed_images(R"({"images": []})").empty());
    const std::string nested = std::string(100000, '[') + std::string(100000, ']');
    CHECK(listed_images(R"({"images": [{"image": )" + nested + "}]}").size() == 1);
}

TEST_CASE("what is no list of images is an error") {
    for (const std::string& document :
         {std::string(), std::string("{"), std::string("[]"), std::string("7"), std::string("{}"),
          std::string(R"({"images": {}})"), std::string(R"([{"images": []}])"), std::string(R"({"images": [[{}]]})"),
          std::string(R"({"images": [{}, "a"]})"), std::string(R"({"images": []} x)")}) {
        INFO(document.substr(0, 100));
        CHECK_THROWS_AS(listed_images(document), BusError);
    }
}
