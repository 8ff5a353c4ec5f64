// SPDX-License-Identifier: Apache-2.0
#include "base/printable.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <utility>

namespace imaged {

namespace {

// Controls, and all that Unicode calls default ignorable: it has no width, so texts that differ in it look the same.
// Joiners and variation selectors are no exception: an emoji that falls apart is worth less than a name that is another
// one than it seems.
constexpr std::array<std::pair<char32_t, char32_t>, 20> controls{{
    {0x00, 0x1f},        // C0
    {0x7f, 0x9f},        // DEL, C1
    {0xad, 0xad},        // soft hyphen
    {0x34f, 0x34f},      // grapheme joiner
    {0x61c, 0x61c},      // bidirectional
    {0x115f, 0x1160},    // Hangul fillers
    {0x17b4, 0x17b5},    // inherent vowels of Khmer
    {0x180b, 0x180f},    // selectors and separators of Mongolian
    {0x200b, 0x200f},    // no width, joiners, bidirectional
    {0x2028, 0x202e},    // line and paragraph separators, bidirectional
    {0x2060, 0x206f},    // no width, bidirectional isolates
    {0x3164, 0x3164},    // Hangul filler
    {0xfe00, 0xfe0f},    // variation selectors
    {0xfeff, 0xfeff},    // byte order mark
    {0xffa0, 0xffa0},    // Hangul filler
    {0xfff0, 0xfffb},    // unassigned, annotations
    {0x1bca0, 0x1bca3},  // of shorthand
    {0x1d173, 0x1d17a},  // of music
    {0xe0000, 0xe00ff},  // tags
    {0xe0100, 0xe0fff},  // variation selectors, unassigned
}};

std::string print(const char* format, std::uint32_t number) {
    std::array<char, 16> text{};
    std::snprintf(text.data(), text.size(), format, number);
    return text.data();
}

std::string as_text(char32_t c, bool valid) {
    return !valid || c < 0x80 ? print("\\x%02x", c) : print("\\u{%04x}", c);
}

std::string as_json(char32_t c, bool valid) {
    if (!valid) return "\xef\xbf\xbd";
    if (c < 0x10000) return print("\\u%04x", c);
    return print("\\u%04x", 0xd800 + ((c - 0x10000) >> 10)) + print("\\u%04x", 0xdc00 + (c & 0x3ff));
}

// Replaces by FORM what may not stay; the characters of KEPT do.
std::string replaced(std::string_view text, std::string_view kept, std::string (*form)(char32_t, bool)) {
    const auto drives = [](char c) { return c < 0x20 || c >= 0x7f; };
    std::string result;
    result.reserve(text.size());
    while (!text.empty()) {
        // Most of each text: bytes that do nothing to a terminal.
        const auto plain = static_cast<std::size_t>(std::find_if(text.begin(), text.end(), drives) - text.begin());
        result += text.substr(0, plain);
        text.remove_prefix(plain);
        if (text.empty()) break;
        const auto [code, bytes, valid] = first_character(text);
        const bool stays =
            valid && (!drives_terminal(code) || (code < 0x80 && kept.find(static_cast<char>(code)) != kept.npos));
        if (stays)
            result += text.substr(0, bytes);
        else
            result += form(code, valid);
        text.remove_prefix(bytes);
    }
    return result;
}

}  // namespace

bool drives_terminal(char32_t c) {
    return std::any_of(controls.begin(), controls.end(),
                       [c](const auto& range) { return c >= range.first && c <= range.second; });
}

Character first_character(std::string_view text) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const Character invalid{byte(0), 1, false};
    if (byte(0) < 0x80) return {byte(0), 1, true};
    const std::size_t length = byte(0) >= 0xf0 ? 4 : byte(0) >= 0xe0 ? 3 : 2;
    if (byte(0) < 0xc2 || byte(0) > 0xf4 || text.size() < length) return invalid;
    constexpr std::array<unsigned, 5> masks{0, 0, 0x1f, 0x0f, 0x07};
    constexpr std::array<char32_t, 5> least{0, 0, 0x80, 0x800, 0x10000};
    char32_t code = byte(0) & masks[length];
    for (std::size_t i = 1; i < length; ++i) {
        if ((byte(i) & 0xc0) != 0x80) return invalid;
        code = code << 6 | (byte(i) & 0x3f);
    }
    if (code < least[length] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) return invalid;
    return {code, length, true};
}

std::string shortened(std::string text, std::size_t most) {
    if (text.size() <= most) return text;
    while (most > 0 && (static_cast<unsigned char>(text[most]) & 0xc0) == 0x80) --most;
    return text.substr(0, most) + "…";
}

std::string printable(std::string_view text) {
    return replaced(text, "", as_text);
}

std::string printable_lines(std::string_view text) {
    return replaced(text, "\n", as_text);
}

std::string printable_json(std::string_view text) {
    return replaced(text, "\n\t", as_json);
}

}  // namespace imaged
