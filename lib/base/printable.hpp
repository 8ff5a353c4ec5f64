// SPDX-License-Identifier: Apache-2.0
// Makes untrusted text safe for terminals, logs and dialogues: the result cannot start another line, control a
// terminal, or change the order in which characters are shown. Pure functions on UTF-8.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace imaged {

// Whether C is a control character (C0, DEL, C1), a bidirectional control, or another character without a width of its
// own that changes how its neighbours are shown or is not seen at all.
bool drives_terminal(char32_t c);

// The first character of TEXT, which is not empty; one byte of it if that is no UTF-8 (RFC 3629).
struct Character {
    char32_t code;
    std::size_t bytes;
    bool valid;
};
Character first_character(std::string_view text);

// TEXT, or as many whole characters of it as MOST bytes hold, and "…".
std::string shortened(std::string text, std::size_t most);

// TEXT with such characters and invalid UTF-8 as \xNN or \u{NNNN}.
std::string printable(std::string_view text);
// The same for text of several lines: line feeds stay.
std::string printable_lines(std::string_view text);
// TEXT, a JSON document, with such characters as \uNNNN; line feeds and tabs stay.
std::string printable_json(std::string_view text);

}  // namespace imaged
