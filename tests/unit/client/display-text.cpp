// SPDX-License-Identifier: Apache-2.0
#include "ui/display-text.hpp"

#include "catch.hpp"

using namespace imagectl;

TEST_CASE("what drives a terminal is escaped, other text is kept") {
    CHECK(escaped("plain ünïcode 漢字") == "plain ünïcode 漢字");
    CHECK(escaped("\x1b[2J\r\n\t\x7f") == "\\x1b[2J\\x0d\\x0a\\x09\\x7f");
    CHECK(escaped("\xc2\x9b"
                  "31m") == "\\u{009b}31m");
    CHECK(escaped("\xe2\x80\xae"
                  "abc") == "\\u{202e}abc");
    CHECK(escaped("\xff\xc3") == "\\xff\\xc3");
    CHECK(escaped(std::string_view("\0", 1)) == "\\x00");
}

TEST_CASE("bytes are told in powers of 1000") {
    CHECK(human_bytes(0) == "0 B");
    CHECK(human_bytes(999) == "999 B");
    CHECK(human_bytes(1000) == "1.0 kB");
    CHECK(human_bytes(999'949) == "999.9 kB");
    CHECK(human_bytes(999'999) == "1.0 MB");
    CHECK(human_bytes(UINT64_MAX) == "18.4 EB");
}

TEST_CASE("durations round up, and nonsense is a dash") {
    CHECK(human_duration(0) == "0s");
    CHECK(human_duration(0.1) == "1s");
    CHECK(human_duration(125) == "2m05s");
    CHECK(human_duration(3 * 3600 + 61) == "3h01m");
    CHECK(human_duration(-1) == "-");
    CHECK(human_duration(0.0 / 0.0) == "-");
}

TEST_CASE("times are UTC, and what no calendar holds is a dash") {
    CHECK(human_time(0) == "1970-01-01 00:00:00Z");
    CHECK(human_time(UINT64_MAX) == "-");
}

TEST_CASE("a digest is shortened, anything else is left alone") {
    CHECK(short_digest("sha256:0123456789abcdef") == "0123456789ab");
    CHECK(short_digest("odd") == "odd");
    CHECK(short_digest("") == "");
}

TEST_CASE("text is cut and padded by columns") {
    CHECK(display_width("漢字a") == 5);
    CHECK(fit("abcdef", 4) == "abc…");
    CHECK(fit("漢字", 3) == "漢…");
    CHECK(fit("abc", 0) == "");
    CHECK(pad("ab", 4) == "ab  ");
    CHECK(pad("ab", 4, true) == "  ab");
}

TEST_CASE("a bar is as wide as asked, whatever the fraction") {
    CHECK(bar(0.5, 12) == "[#####-----]");
    CHECK(bar(7, 5) == "[###]");
    CHECK(bar(0.0 / 0.0, 5) == "[---]");
    CHECK(bar(1, 2) == "  ");
}
