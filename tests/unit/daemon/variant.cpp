// SPDX-License-Identifier: Apache-2.0
#include "bus/variant.hpp"

#include "base/error.hpp"
#include "catch.hpp"
#include "job/answers.hpp"

using imaged::VariantMap;
using nlohmann::json;
namespace job = imaged::job;

namespace {

std::string type_of(const VariantMap& map, const std::string& key) {
    return map.at(key).peekValueType();
}

}  // namespace

TEST_CASE("members become the D-Bus types of the interface") {
    const auto map = imaged::to_variant_map<job::ImageDescription>(json::parse(
        R"({"image":"docker://a","state":"ok","digest":"sha256:1","size":7,"layers":3,"version":null,"layer-list":[],
            "labels":{"a":"b"},"filtered":{"d":{"/tmp":2}}})"));
    CHECK(type_of(map, "digest") == "s");
    CHECK(type_of(map, "size") == "t");
    CHECK(type_of(map, "layers") == "u");
    CHECK(map.count("version") == 0);
    CHECK(type_of(map, "layer-list") == "aa{sv}");
    CHECK(type_of(map, "labels") == "a{ss}");
    CHECK(type_of(map, "filtered") == "a{sa{su}}");
}

TEST_CASE("the outcome of a kind has its own types, and what was left out of it") {
    const auto map = imaged::outcome_map(job::Prepare(), {{"layers", json::array()}, {"truncated", {"layers"}}});
    CHECK(type_of(map, "layers") == "aa{sv}");
    CHECK(type_of(map, "truncated") == "as");
    CHECK(type_of(imaged::outcome_map(job::Pull(), {{"layers", 3}, {"changed", true}}), "layers") == "u");
    CHECK(type_of(imaged::outcome_map(job::Remove(), {{"missing", json::array()}}), "missing") == "as");
}

TEST_CASE("text that is not UTF-8 is made so") {
    const auto map = imaged::outcome_map(job::Pull(), {{"version", "x\xff\xc3\xa9"}});
    CHECK(map.at("version").get<std::string>() == "x\xef\xbf\xbd\xc3\xa9");
}

TEST_CASE("what the interface does not have is refused by name") {
    const auto outcome = [](const json& details) { imaged::outcome_map(job::Pull(), details); };
    CHECK_THROWS_AS(outcome(json::array()), imaged::Error);
    CHECK_THROWS_WITH(outcome({{"bytes-fetched", -1}}), "the value of \"bytes-fetched\" has no D-Bus form");
    CHECK_THROWS_WITH(outcome({{"colour", "red"}}), "the value of \"colour\" has no D-Bus form");
    CHECK_THROWS_AS(outcome({{"layers", 5'000'000'000}}), imaged::Error);
    CHECK_THROWS_AS(outcome({{"filtered", {{"a", 1}}}}), imaged::Error);
    CHECK_THROWS_AS(outcome({{"layers-dropped", {1}}}), imaged::Error);
}
