// SPDX-License-Identifier: Apache-2.0
#include "base/printable.hpp"

#include <string>

#include "catch.hpp"

using namespace imaged;

TEST_CASE("text without controls stays as it is") {
    for (const std::string text : {"", "plain", "ünïcode 漢字 🦀", "\xf4\x8f\xbf\xbf", "a b~"}) {
        CHECK(printable(text) == text);
        CHECK(printable_json(text) == text);
    }
}

TEST_CASE("controls become visible") {
    CHECK(printable("\x1b[2J\r\n\t\x7f") == "\\x1b[2J\\x0d\\x0a\\x09\\x7f");
    CHECK(printable("\xc2\x9b") == "\\u{009b}");
    CHECK(printable("\xe2\x80\xae|\xe2\x81\xa6|\xd8\x9c|\xe2\x80\xa8|\xef\xbb\xbf") ==
          "\\u{202e}|\\u{2066}|\\u{061c}|\\u{2028}|\\u{feff}");
    CHECK(printable("\xf3\xa0\x81\x81") == "\\u{e0041}");
    CHECK(printable(std::string_view("\0", 1)) == "\\x00");
}

TEST_CASE("what is not seen becomes visible") {
    for (const char32_t c : {0xad,   0x34f,   0x115f,  0x1160,  0x17b4,  0x17b5,  0x180b,  0x180e,  0x180f, 0x200b,
                             0x200c, 0x200d,  0x2060,  0x2064,  0x3164,  0xfe00,  0xfe0f,  0xfeff,  0xffa0, 0xfff0,
                             0xfff8, 0x1bca0, 0x1d173, 0xe0000, 0xe0020, 0xe007f, 0xe0100, 0xe01ef, 0xe0fff}) {
        CAPTURE(static_cast<unsigned>(c));
        CHECK(drives_terminal(c));
    }
    CHECK(printable("a\xc2\xad"
                    "b\xcd\x8f"
                    "c\xe2\x80\x8d") == "a\\u{00ad}b\\u{034f}c\\u{200d}");
    CHECK(printable_json("\"\xf3\xa0\x84\x80\"") == "\"\\udb40\\udd00\"");
    for (const char32_t c : {0xac, 0xae, 0x350, 0x200a, 0x2010, 0x2070, 0xfdff, 0xfe10, 0xff9f, 0xfffc, 0xfffd})
        CHECK_FALSE(drives_terminal(c));
}

TEST_CASE("what is no UTF-8 becomes visible byte by byte") {
    CHECK(printable("\xff\xc3") == "\\xff\\xc3");
    CHECK(printable("\xc0\x8a") == "\\xc0\\x8a");           // overlong
    CHECK(printable("\xe0\x80\x8a") == "\\xe0\\x80\\x8a");  // overlong
    CHECK(printable("\xed\xa0\x80") == "\\xed\\xa0\\x80");  // a surrogate
    CHECK(printable("\xf4\x90\x80\x80") == "\\xf4\\x90\\x80\\x80");
    CHECK(printable("\xe2\x80") == "\\xe2\\x80");
    CHECK(printable("\x9b"
                    "31m") ==
          "\\x9b"
          "31m");
}

TEST_CASE("line feeds stay where lines are meant") {
    CHECK(printable_lines("a\nb\x1b\n") == "a\nb\\x1b\n");
    CHECK(printable_lines("a\r\n") == "a\\x0d\n");
}

TEST_CASE("a JSON document stays one") {
    CHECK(printable_json("{\n\t\"a\": \"\x7f\xc2\x9b\xe2\x80\xae\xf3\xa0\x81\x81\"}") ==
          "{\n\t\"a\": \"\\u007f\\u009b\\u202e\\udb40\\udc41\"}");
}
