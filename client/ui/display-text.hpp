// SPDX-License-Identifier: Apache-2.0
// Formats text for people: numbers with units, columns; escapes what could control a terminal. Pure functions on UTF-8.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace imagectl {

// TEXT with control characters (C0, DEL, C1, bidirectional controls, …) and invalid UTF-8 as \xNN or \u{NNNN}; what a
// remote wrote must not move the cursor.
std::string escaped(std::string_view text);
// The same of TEXT itself.
void escape(std::string& text);

// "0 B", "999 B", "1.0 kB", "12.3 MB": powers of 1000, one decimal from kB on.
std::string human_bytes(std::uint64_t bytes);
// "4s", "2m05s", "3h07m", "12d"; rounds up, so that "0s" is only said of nothing.
std::string human_duration(double seconds);
// "2024-05-06 07:08:09Z"; "-" for what no calendar holds.
std::string human_time(std::uint64_t seconds_since_1970);
// "2024-05-06" likewise.
std::string human_date(std::uint64_t seconds_since_1970);

// The first 12 hexadecimal digits of "sha256:…"; the text itself when it is no digest.
std::string short_digest(std::string_view digest);

// Columns that TEXT takes on a terminal.
std::size_t display_width(std::string_view text);
// TEXT cut to at most WIDTH columns, with "…" where something went.
std::string fit(std::string_view text, std::size_t width);
// TEXT with spaces to WIDTH columns, behind it or (right) in front.
std::string pad(std::string_view text, std::size_t width, bool right = false);
// Appends that to RESULT. False if TEXT is wider than WIDTH.
bool append_padded(std::string& result, std::string_view text, std::size_t width, bool right = false);

// "[#####-----]", WIDTH columns in all; FRACTION is clamped to 0…1.
std::string bar(double fraction, std::size_t width);

}  // namespace imagectl
