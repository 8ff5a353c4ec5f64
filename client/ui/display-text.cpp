// SPDX-License-Identifier: Apache-2.0
#include "ui/display-text.hpp"

#include <glib.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <ctime>

#include "base/printable.hpp"

namespace imagectl {

namespace {

template <typename... Arguments>
std::string print(const char* format, Arguments... arguments) {
    char buffer[96];
    const int length = std::snprintf(buffer, sizeof buffer, format, arguments...);
    return std::string(buffer, std::min<std::size_t>(length, sizeof buffer - 1));
}

std::size_t columns(gunichar c) {
    if (g_unichar_iszerowidth(c)) return 0;
    return g_unichar_iswide(c) ? 2 : 1;
}

// Most of what is printed: each byte is one column and does nothing to a terminal.
bool is_plain(std::string_view text) {
    return std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x20 && c < 0x7f; });
}

// Calls VISIT with each character and the bytes it came from; bytes that are no UTF-8 come one by one with valid ==
// false.
template <typename Visit>
void each_character(std::string_view text, Visit&& visit) {
    for (std::size_t at = 0; at < text.size();) {
        const gunichar c = g_utf8_get_char_validated(text.data() + at, static_cast<gssize>(text.size() - at));
        const bool valid = c != static_cast<gunichar>(-1) && c != static_cast<gunichar>(-2);
        const std::size_t length = valid ? std::max(1, g_unichar_to_utf8(c, nullptr)) : 1;
        if (!visit(valid ? c : static_cast<unsigned char>(text[at]), valid, text.substr(at, length))) return;
        at += length;
    }
}

}  // namespace

std::string escaped(std::string_view text) {
    return imaged::printable(text);
}

void escape(std::string& text) {
    if (!is_plain(text)) text = imaged::printable(text);
}

std::string human_bytes(std::uint64_t bytes) {
    if (bytes < 1000) return print("%u B", static_cast<unsigned>(bytes));
    static constexpr const char* units[] = {"kB", "MB", "GB", "TB", "PB", "EB"};
    double value = static_cast<double>(bytes) / 1000;
    std::size_t unit = 0;
    // 999.95 would be printed as 1000.0
    for (; value >= 999.95 && unit + 1 < std::size(units); unit++) value /= 1000;
    return print("%.1f %s", value, units[unit]);
}

std::string human_duration(double seconds) {
    if (!(seconds >= 0) || seconds > 1e9) return "-";
    const auto whole = static_cast<unsigned long>(std::ceil(seconds));
    if (whole < 60) return print("%lus", whole);
    if (whole < 3600) return print("%lum%02lus", whole / 60, whole % 60);
    if (whole < 86400) return print("%luh%02lum", whole / 3600, whole % 3600 / 60);
    return print("%lud", whole / 86400);
}

std::string human_time(std::uint64_t seconds_since_1970) {
    // Year 9999; beyond it the columns would break, and nothing sensible is meant.
    if (seconds_since_1970 > 253402300799u) return "-";
    const auto time = static_cast<std::time_t>(seconds_since_1970);
    std::tm parts{};
    if (!gmtime_r(&time, &parts)) return "-";
    char buffer[32];
    return std::string(buffer, std::strftime(buffer, sizeof buffer, "%Y-%m-%d %H:%M:%SZ", &parts));
}

std::string human_date(std::uint64_t seconds_since_1970) {
    return human_time(seconds_since_1970).substr(0, std::string_view("9999-12-31").size());
}

std::string short_digest(std::string_view digest) {
    const auto colon = digest.find(':');
    if (colon == std::string_view::npos || digest.size() < colon + 13) return std::string(digest);
    return std::string(digest.substr(colon + 1, 12));
}

std::size_t display_width(std::string_view text) {
    if (is_plain(text)) return text.size();
    std::size_t width = 0;
    each_character(text, [&](gunichar c, bool valid, std::string_view) {
        width += valid ? columns(c) : 1;
        return true;
    });
    return width;
}

std::string fit(std::string_view text, std::size_t width) {
    if (display_width(text) <= width) return std::string(text);
    if (width == 0) return {};
    std::string result;
    std::size_t used = 0;
    each_character(text, [&](gunichar c, bool valid, std::string_view bytes) {
        const std::size_t more = valid ? columns(c) : 1;
        if (used + more > width - 1) return false;
        used += more;
        result += bytes;
        return true;
    });
    return result + "…";
}

std::string pad(std::string_view text, std::size_t width, bool right) {
    std::string result;
    append_padded(result, text, width, right);
    return result;
}

bool append_padded(std::string& result, std::string_view text, std::size_t width, bool right) {
    const std::size_t used = display_width(text);
    const std::size_t space = width > used ? width - used : 0;
    if (right) result.append(space, ' ');
    result += text;
    if (!right) result.append(space, ' ');
    return used <= width;
}

std::string bar(double fraction, std::size_t width) {
    if (width < 3) return std::string(width, ' ');
    const std::size_t room = width - 2;
    const double part = fraction >= 0 ? std::min(fraction, 1.0) : 0;  // NaN is 0 too
    const auto full = static_cast<std::size_t>(part * static_cast<double>(room));
    return "[" + std::string(full, '#') + std::string(room - full, '-') + "]";
}

}  // namespace imagectl
