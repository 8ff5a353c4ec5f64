// SPDX-License-Identifier: Apache-2.0
#include "process/bus-error.hpp"

#include "catch.hpp"

using namespace imaged;

TEST_CASE("every kind of error has its name on the bus") {
    for (int kind = 0; kind <= static_cast<int>(ErrorKind::failed); ++kind) {
        const Error error(static_cast<ErrorKind>(kind), "why");
        const auto on_bus = bus_error(error);
        CHECK(on_bus.getName() == "org.imaged1.Error." + std::string(error_name(error.kind())));
        CHECK(on_bus.getMessage() == "why");
    }
    CHECK(bus_error_name("Nonsense") == "org.imaged1.Error.Failed");
    CHECK(bus_error_name("").empty());
}

TEST_CASE("nothing but a bus error leaves the fence") {
    CHECK_THROWS_AS(with_bus_errors([] { throw Error(ErrorKind::not_found, "x"); }), sdbus::Error);
    CHECK_THROWS_AS(with_bus_errors([] { throw std::runtime_error("x"); }), sdbus::Error);
    CHECK_THROWS_AS(with_bus_errors([] { throw 1; }), sdbus::Error);
    CHECK(with_bus_errors([] { return 3; }) == 3);
}

TEST_CASE("bus text is valid UTF-8") {
    CHECK(bus_text("plain é €") == "plain é €");
    CHECK(bus_text(std::string("a\0b", 3)) ==
          "a\xef\xbf\xbd"
          "b");
    CHECK(bus_text("\xc0\x80") == "\xef\xbf\xbd\xef\xbf\xbd");
    CHECK(bus_text("\xed\xa0\x80!").ends_with('!'));
    CHECK(bus_text("\xf0\x9f\x98\x80") == "\xf0\x9f\x98\x80");
    CHECK(bus_text("\xf0\x9f\x98") == "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
}
