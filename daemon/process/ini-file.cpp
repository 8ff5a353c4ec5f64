// SPDX-License-Identifier: Apache-2.0
#include "process/ini-file.hpp"

#include <algorithm>

#include "base/error.hpp"

namespace imaged {

namespace {

constexpr std::string_view blanks = " \t\r";

std::string_view trimmed(std::string_view text) {
    const auto first = text.find_first_not_of(blanks);
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(blanks) - first + 1);
}

bool is_comment(std::string_view line) {
    return line.starts_with('#') || line.starts_with(';');
}

[[noreturn]] void refuse(const FilePosition& position, const std::string& why) {
    throw Error(ErrorKind::invalid_argument, position.text() + ": " + why);
}

// Cuts one line off TEXT.
std::string_view take_line(std::string_view& text) {
    const auto end = std::min(text.find('\n'), text.size());
    const auto line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    return trimmed(line);
}

}  // namespace

std::vector<IniSetting> parse_ini(std::string_view text, const std::string& file) {
    if (text.size() > max_ini_bytes) throw Error(ErrorKind::invalid_argument, file + ": the file is too large");
    if (text.find('\0') != std::string_view::npos) throw Error(ErrorKind::invalid_argument, file + ": no text");
    std::vector<IniSetting> settings;
    std::string section;
    FilePosition position{file, 0};
    while (!text.empty()) {
        ++position.line;
        const auto start = position;
        std::string line(take_line(text));
        if (line.empty() || is_comment(line)) continue;
        while (line.ends_with('\\') && !text.empty()) {
            line.pop_back();
            ++position.line;
            // A comment between the lines of a value is skipped.
            if (const auto more = take_line(text); is_comment(more)) {
                line += '\\';
            } else {
                line = std::string(trimmed(line)) + " " + std::string(more);
            }
        }
        if (line.starts_with('[')) {
            if (!line.ends_with(']') || line.size() < 3) refuse(start, "not a section: " + line);
            section = line.substr(1, line.size() - 2);
            continue;
        }
        const auto equals = line.find('=');
        if (equals == std::string::npos || equals == 0) refuse(start, "neither Key=Value nor [Section]: " + line);
        const std::string key(trimmed(std::string_view(line).substr(0, equals)));
        if (section.empty()) refuse(start, key + "= stands before the first [Section]");
        settings.push_back({section, key, std::string(trimmed(std::string_view(line).substr(equals + 1))), start});
    }
    return settings;
}

}  // namespace imaged
