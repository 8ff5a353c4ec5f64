// SPDX-License-Identifier: Apache-2.0
#include "oci/timestamp.hpp"

#include "catch.hpp"

using namespace imaged;

TEST_CASE("an RFC 3339 time is read to the second", "[timestamp]") {
    CHECK(parse_timestamp("2024-01-02T03:04:05Z") == 1704164645U);
    CHECK(parse_timestamp("2024-01-02t03:04:05z") == 1704164645U);
    CHECK(parse_timestamp("2024-01-02 03:04:05Z") == 1704164645U);
    CHECK(parse_timestamp("2024-01-02T03:04:05.999999999+02:00") == 1704157445U);
    CHECK(parse_timestamp("2024-02-29T00:00:00-00:30") == 1709166600U);
    CHECK(parse_timestamp("1970-01-01T00:00:00Z") == 0U);
    CHECK(parse_timestamp("9999-12-31T23:59:59Z") == 253402300799U);
    CHECK(parse_timestamp("9999-12-31T23:59:59+00:01") == 253402300739U);
}

TEST_CASE("what is malformed, does not exist, or lies before 1970 or after 9999 is no time", "[timestamp]") {
    for (const char* text :
         {"", "yesterday", "2024-01-02", "2024-01-02T03:04:05", "2024-01-02T03:04Z", "2024-13-01T00:00:00Z",
          "2023-02-29T00:00:00Z", "2024-01-02T24:00:00Z", "2024-01-02T03:04:05.Z", "2024-01-02T03:04:05Z ",
          "2024-01-02T03:04:05+0200", "0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "+024-01-02T03:04:05Z",
          "9999-12-31T23:59:60Z", "9999-12-31T23:59:59-00:01", "9999-12-31T12:00:00-12:00"}) {
        INFO(text);
        CHECK_FALSE(parse_timestamp(text));
    }
}
