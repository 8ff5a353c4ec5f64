// SPDX-License-Identifier: Apache-2.0
// Reads text files of [Section] and Key=Value lines, as systemd.syntax(7) has them: comments with # or ;, blank lines,
// a backslash at the end of a line joins it with the next. The caller interprets the settings.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace imaged {

// A line of a file, for messages: "/etc/imaged/imaged.conf:7".
struct FilePosition {
    std::string file;
    unsigned line = 0;
    std::string text() const { return file + ":" + std::to_string(line); }
};

struct IniSetting {
    std::string section, key;
    std::string value;  // trimmed; empty resets
    FilePosition position;
};

// Far more than a person writes.
inline constexpr std::size_t max_ini_bytes = 1024 * 1024;

// Returns the settings in the order of the text. Throws Error(invalid_argument) that begins with FILE and the line.
std::vector<IniSetting> parse_ini(std::string_view text, const std::string& file);

}  // namespace imaged
