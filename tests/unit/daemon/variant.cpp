// SPDX-License-Identifier: Apache-2.0
#include "bus/variant.hpp"

#include "base/error.hpp"
#include "catch.hpp"

using imaged::to_variant_map;
using imaged::VariantMap;
using nlohmann::json;

namespace {

std::string type_of(const VariantMap& map, const std::string& key) {
    return map.at(key).peekValueType();
}

}  // namespace

TEST_CASE("JSON types become the D-Bus types of the interface") {
    const auto map = to_variant_map(json::parse(
        R"({"digest":"sha256:1","size":7,"changed":true,"ratio":0.5,"names":["a","b"],"none":[],"missing":null,
            "layers":[{"digest":"d"}],"layer-list":[],"layers-present":3,"labels":{"a":"b"},
            "filtered":{"d":{"/tmp":2}},"other":{"a":1}})"));
    CHECK(type_of(map, "digest") == "s");
    CHECK(type_of(map, "size") == "t");
    CHECK(type_of(map, "changed") == "b");
    CHECK(type_of(map, "ratio") == "d");
    CHECK(type_of(map, "names") == "as");
    CHECK(type_of(map, "none") == "as");
    CHECK(map.count("missing") == 0);
    CHECK(type_of(map, "layers") == "aa{sv}");
    CHECK(type_of(map, "layer-list") == "aa{sv}");
    CHECK(type_of(map, "layers-present") == "u");
    CHECK(type_of(map, "labels") == "a{ss}");
    CHECK(type_of(map, "filtered") == "a{sa{su}}");
    CHECK(type_of(map, "other") == "a{sv}");
}

TEST_CASE("layers is a count where it is a number and a list where it is a list") {
    CHECK(type_of(to_variant_map({{"layers", 3}}), "layers") == "u");
    CHECK(type_of(to_variant_map({{"layers", json::array()}}), "layers") == "aa{sv}");
}

TEST_CASE("text that is not UTF-8 is made so") {
    json object;
    object["a"] = "x\xff\xc3\xa9";
    CHECK(to_variant_map(object).at("a").get<std::string>() == "x\xef\xbf\xbd\xc3\xa9");
}

TEST_CASE("what has no D-Bus form is refused by name") {
    CHECK_THROWS_AS(to_variant_map(json::array()), imaged::Error);
    CHECK_THROWS_WITH(to_variant_map({{"size", -1}}), "the value of \"size\" has no D-Bus form");
    CHECK_THROWS_AS(to_variant_map({{"layers", 5'000'000'000}}), imaged::Error);
    CHECK_THROWS_AS(to_variant_map({{"labels", {{"a", 1}}}}), imaged::Error);
    CHECK_THROWS_AS(to_variant_map(json::parse(R"({"a":[1]})")), imaged::Error);
    json deep = "x";
    for (int count = 0; count < 20; ++count) deep = json{{"a", deep}};
    CHECK_THROWS_AS(to_variant_map(deep), imaged::Error);
}
