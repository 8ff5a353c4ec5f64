// SPDX-License-Identifier: Apache-2.0
// Catch2, version 2 (Debian 12) or 3 (Debian 13). What the two name differently has one name here, which is all that
// tests use of it beside the macros; tests/include-check.py looks for that. The main function comes from the library
// the tests are linked with.
#pragma once

#include <string>

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
using Catch::Approx;
#else
#include <catch2/catch.hpp>
#endif

// Matches a text that has this part: CHECK_THROWS_WITH(call(), containing("part")).
inline auto containing(const std::string& part) {
#if __has_include(<catch2/catch_all.hpp>)
    return Catch::Matchers::ContainsSubstring(part);
#else
    return Catch::Matchers::Contains(part);
#endif
}
