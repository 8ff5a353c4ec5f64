// SPDX-License-Identifier: Apache-2.0
#include "base/enum-names.hpp"

#include "base/error.hpp"
#include "catch.hpp"

using namespace imaged;

namespace {

enum class Colour { red, green, nameless };
constexpr auto colours = enum_names<Colour>({{Colour::red, "red"}, {Colour::green, "dark green"}});

}  // namespace

TEST_CASE("a value has its name, and a name its value") {
    STATIC_REQUIRE(colours.name(Colour::green) == "dark green");
    STATIC_REQUIRE(colours.value("red") == Colour::red);
    REQUIRE(colours.name(Colour::nameless).empty());
    REQUIRE_FALSE(colours.value("green"));
    REQUIRE_FALSE(colours.value(""));
}

TEST_CASE("every kind of error has a name of its own, and a name that nobody knows is a failure") {
    for (int number = 0; number <= static_cast<int>(ErrorKind::failed); ++number) {
        const auto kind = static_cast<ErrorKind>(number);
        REQUIRE_FALSE(error_name(kind).empty());
        REQUIRE(error_kind(error_name(kind)) == kind);
    }
    REQUIRE(error_kind("Unheard") == ErrorKind::failed);
}
