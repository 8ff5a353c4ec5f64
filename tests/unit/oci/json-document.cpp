// SPDX-License-Identifier: Apache-2.0
#include "oci/json-document.hpp"
#include "base/json.hpp"

#include "base/error.hpp"
#include "catch.hpp"

using namespace imaged;

namespace {

constexpr std::size_t limit = 4 * 1024 * 1024;

std::string refused_document(const std::string& text) {
    try {
        parse_document(text, limit, "manifest");
    } catch (const Error& error) {
        CHECK(error.kind() == ErrorKind::corrupt_input);
        return error.what();
    }
    return "";
}

std::string repeated(const std::string& text, unsigned count) {
    std::string all;
    for (unsigned i = 0; i < count; ++i) all += text;
    return all;
}

}  // namespace

TEST_CASE("a document with very many members takes no more time than its length") {
    // Quadratic, this takes minutes.
    const auto text = "{\"history\":[" + repeated("{},", 199'000) + "{}]}";
    CHECK(parse_document(text, limit, "config").at("history").size() == 199'001);
}

TEST_CASE("a document has limits of size, depth and values") {
    CHECK(refused_document(std::string(limit + 1, ' ')).find("larger than the limit") != std::string::npos);
    CHECK(refused_document("{\"x\":" + repeated("[", 40) + repeated("]", 40) + "}").find("deeper than 32") !=
          std::string::npos);
    CHECK(refused_document("{\"x\":" + repeated("[", 500'000)).find("deeper than 32") != std::string::npos);
    CHECK(refused_document("{\"x\":[" + repeated("0,", 300'000) + "0]}").find("200000 values") != std::string::npos);
}

TEST_CASE("what is no JSON object is refused") {
    for (const char* text : {"", "null", "[]", "7", "{", "{\"a\":1}x", "{\"a\":\"\xff\"}", "{\"a\":\"\\ud800\"}"})
        CHECK(!refused_document(text).empty());
}
