// SPDX-License-Identifier: Apache-2.0
#include "process/bus-error.hpp"

#include "base/printable.hpp"

namespace imaged {

std::string bus_error_name(std::string_view name) {
    if (name.empty()) return {};
    return "org.imaged1.Error." + std::string(error_name(error_kind(name)));
}

sdbus::Error bus_error(const Error& error) {
    return bus::error(bus_error_name(error_name(error.kind())), bus_text(error.what()));
}

std::string bus_text(std::string text) {
    const auto is_fine = [](const Character& character) { return character.valid && character.code != 0; };
    std::string_view rest = text;
    while (!rest.empty()) {
        const auto character = first_character(rest);
        if (!is_fine(character)) break;
        rest.remove_prefix(character.bytes);
    }
    if (rest.empty()) return text;
    std::string valid(text, 0, text.size() - rest.size());
    while (!rest.empty()) {
        const auto character = first_character(rest);
        valid += is_fine(character) ? rest.substr(0, character.bytes) : std::string_view("\xef\xbf\xbd");
        rest.remove_prefix(character.bytes);
    }
    return valid;
}

}  // namespace imaged
