// SPDX-License-Identifier: Apache-2.0
// The names of an enumeration's values: one table, read in both directions.
#pragma once

#include <array>
#include <optional>
#include <string_view>
#include <type_traits>
#include <utility>

namespace imaged {

template <typename Enum, std::size_t Count>
struct EnumNames {
    std::array<std::pair<Enum, std::string_view>, Count> table;

    // Empty for a value without a name.
    constexpr std::string_view name(Enum value) const {
        for (const auto& [candidate, name] : table) {
            if (candidate == value) return name;
        }
        return {};
    }
    constexpr std::optional<Enum> value(std::string_view name) const {
        for (const auto& [value, candidate] : table) {
            if (candidate == name) return value;
        }
        return std::nullopt;
    }
};

// enum_names<Colour>({{Colour::red, "red"}, {Colour::green, "green"}})
template <typename Enum, std::size_t Count>
constexpr EnumNames<Enum, Count> enum_names(const std::pair<Enum, std::string_view> (&table)[Count]) {
    return {std::to_array(table)};
}

// An enumeration with names for all: names_of(value), beside it, is its table.
template <typename Enum>
concept Named = std::is_enum_v<Enum> && requires(Enum value) {
    names_of(value).name(value);
};

template <Named Enum>
constexpr std::string_view to_string(Enum value) {
    return names_of(value).name(value);
}

}  // namespace imaged
