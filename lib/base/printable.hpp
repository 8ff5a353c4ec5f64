// SPDX-License-Identifier: Apache-2.0
// Makes untrusted text safe for terminals, logs and dialogues: the result cannot start another line, control a
// terminal, or change the order in which characters are shown. Pure functions on UTF-8.
#pragma once

#include <string>
#include <string_view>

namespace imaged {

// Whether C is a control character (C0, DEL, C1), a bidirectional control, or another character without a width of its
// own that changes how its neighbours are shown or is not seen at all.
bool drives_terminal(char32_t c);

// TEXT with such characters and invalid UTF-8 as \xNN or \u{NNNN}.
std::string printable(std::string_view text);
// The same for text of several lines: line feeds stay.
std::string printable_lines(std::string_view text);
// TEXT, a JSON document, with such characters as \uNNNN; line feeds and tabs stay.
std::string printable_json(std::string_view text);

}  // namespace imaged
