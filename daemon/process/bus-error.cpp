// SPDX-License-Identifier: Apache-2.0
#include "process/bus-error.hpp"

#include <algorithm>

namespace imaged {

namespace {

// Length of the well-formed UTF-8 sequence that TEXT starts with, 0 for none (RFC 3629, section 4).
std::size_t sequence_length(std::string_view text) {
    const auto byte = [&](std::size_t index) { return static_cast<unsigned char>(text[index]); };
    const unsigned char first = byte(0);
    if (first == 0) return 0;
    if (first < 0x80) return 1;
    const std::size_t length = first >= 0xc2 && first < 0xe0   ? 2
                               : first >= 0xe0 && first < 0xf0 ? 3
                               : first >= 0xf0 && first < 0xf5 ? 4
                                                               : 0;
    if (length == 0 || text.size() < length) return 0;
    for (std::size_t index = 1; index < length; ++index) {
        if ((byte(index) & 0xc0) != 0x80) return 0;
    }
    if (first == 0xe0 && byte(1) < 0xa0) return 0;
    if (first == 0xed && byte(1) >= 0xa0) return 0;
    if (first == 0xf0 && byte(1) < 0x90) return 0;
    if (first == 0xf4 && byte(1) >= 0x90) return 0;
    return length;
}

}  // namespace

std::string bus_error_name(std::string_view name) {
    if (name.empty()) return {};
    return "org.imaged1.Error." + std::string(error_name(error_kind(name)));
}

sdbus::Error bus_error(const Error& error) {
    return bus::error(bus_error_name(error_name(error.kind())), bus_text(error.what()));
}

std::string bus_text(std::string text) {
    std::string_view rest = text;
    while (!rest.empty()) {
        const auto length = sequence_length(rest);
        if (length == 0) break;
        rest.remove_prefix(length);
    }
    if (rest.empty()) return text;
    std::string valid(text, 0, text.size() - rest.size());
    while (!rest.empty()) {
        const auto length = sequence_length(rest);
        valid += length == 0 ? std::string_view("\xef\xbf\xbd") : rest.substr(0, length);
        rest.remove_prefix(std::max<std::size_t>(length, 1));
    }
    return valid;
}

}  // namespace imaged
