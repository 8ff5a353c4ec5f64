// SPDX-License-Identifier: Apache-2.0
#include "base/base64.hpp"

#include "catch.hpp"

using namespace imaged;

TEST_CASE("base 64 is read as it is written") {
    for (const auto& bytes : {std::string("a"), std::string("ab"), std::string("abc"), std::string("\0\xff\0", 3)})
        CHECK(decode_base64(encode_base64(bytes)) == bytes);
    CHECK(encode_base64("abcd") == "YWJjZA==");
    for (const char* text : {"", "YWJ", "YWJjZA", "!!!!", "YW==x"}) CHECK_FALSE(decode_base64(text));
}
