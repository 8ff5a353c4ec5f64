// SPDX-License-Identifier: Apache-2.0
#include "base/error.hpp"
#include "base/json-nesting.hpp"
#include "catch.hpp"
#include "job/job.hpp"
#include "job/kinds.hpp"

using namespace imaged;

TEST_CASE("a message that nests deep enough to take the stack is refused") {
    const std::string deep = std::string(1'000'000, '[') + std::string(1'000'000, ']');
    for (const auto& line : {R"({"type":"result","outcome":"success","details":)" + deep + "}",
                             R"({"type":"result","outcome":"success","changed-images":)" + deep + "}", deep}) {
        CHECK_THROWS_AS(job::decode_message(line), Error);
        CHECK_THROWS_AS(job::decode_request(line), Error);
    }
}

TEST_CASE("brackets in texts do not nest") {
    CHECK_FALSE(nests_deeper_than(R"({"a":"[[[[\"[[[[","b":[1]})", 2));
    CHECK(nests_deeper_than(R"({"a":[[1]]})", 2));
    CHECK_FALSE(nests_deeper_than(R"([[],[],[[]]])", 3));
}
