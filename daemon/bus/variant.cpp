// SPDX-License-Identifier: Apache-2.0
#include "bus/variant.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <string_view>

#include "process/bus-error.hpp"

namespace imaged {

namespace {

using nlohmann::json;

// Deeper than any answer is; it bounds the recursion.
constexpr int max_depth = 8;

// Counts of layers and the like are u on the bus; under the same key an array stays an array.
constexpr std::array<std::string_view, 6> u_keys{"layers",         "layers-kept",    "layers-present",
                                                 "layers-missing", "layers-fetched", "serial"};
// Arrays of dictionaries, which an empty array does not tell by itself.
constexpr std::array<std::string_view, 14> dictionary_list_keys{
    "layers",   "layer-list", "damaged",      "problems",       "notes",       "damaged-layers", "removed",
    "repaired", "unrepaired", "layers-added", "layers-removed", "layers-kept", "updates",        "unchecked"};

template <typename List>
bool contains(const List& list, std::string_view key) {
    return std::find(list.begin(), list.end(), key) != list.end();
}

[[noreturn]] void refuse_value(const std::string& key) {
    throw Error(ErrorKind::failed, "the value of \"" + key + "\" has no D-Bus form");
}

std::string text(const std::string& key, const json& value) {
    if (!value.is_string()) refuse_value(key);
    return bus_text(value.get<std::string>());
}

std::uint32_t count(const std::string& key, const json& value) {
    if (!value.is_number_integer() || (!value.is_number_unsigned() && value.get<std::int64_t>() < 0)) refuse_value(key);
    const auto number = value.get<std::uint64_t>();
    if (number > std::numeric_limits<std::uint32_t>::max()) refuse_value(key);
    return static_cast<std::uint32_t>(number);
}

std::map<std::string, std::string> text_map(const std::string& key, const json& value) {
    std::map<std::string, std::string> map;
    for (const auto& [name, member] : value.items()) map.emplace(bus_text(name), text(key, member));
    return map;
}

std::map<std::string, std::map<std::string, std::uint32_t>> count_maps(const std::string& key, const json& value) {
    std::map<std::string, std::map<std::string, std::uint32_t>> maps;
    for (const auto& [name, member] : value.items()) {
        if (!member.is_object()) refuse_value(key);
        auto& counts = maps[bus_text(name)];
        for (const auto& [path, number] : member.items()) counts.emplace(bus_text(path), count(key, number));
    }
    return maps;
}

VariantMap map_of(const json& object, int depth);

std::vector<VariantMap> maps_of(const std::string& key, const json& array, int depth) {
    std::vector<VariantMap> maps;
    maps.reserve(array.size());
    for (const auto& element : array) {
        if (!element.is_object()) refuse_value(key);
        maps.push_back(map_of(element, depth));
    }
    return maps;
}

sdbus::Variant variant_of(const std::string& key, const json& value, int depth) {
    if (depth > max_depth) refuse_value(key);
    if (value.is_object()) {
        if (key == "labels") return sdbus::Variant(text_map(key, value));
        if (key == "filtered") return sdbus::Variant(count_maps(key, value));
        return sdbus::Variant(map_of(value, depth + 1));
    }
    if (value.is_array()) {
        const bool dictionaries = value.empty() ? contains(dictionary_list_keys, key) : value.front().is_object();
        if (dictionaries) return sdbus::Variant(maps_of(key, value, depth + 1));
        std::vector<std::string> texts;
        for (const auto& element : value) texts.push_back(text(key, element));
        return sdbus::Variant(texts);
    }
    if (value.is_string()) return sdbus::Variant(text(key, value));
    if (value.is_boolean()) return sdbus::Variant(value.get<bool>());
    if (value.is_number_integer()) {
        if (contains(u_keys, key)) return sdbus::Variant(count(key, value));
        if (!value.is_number_unsigned() && value.get<std::int64_t>() < 0) refuse_value(key);
        return sdbus::Variant(value.get<std::uint64_t>());
    }
    if (value.is_number_float()) return sdbus::Variant(value.get<double>());
    refuse_value(key);
}

VariantMap map_of(const json& object, int depth) {
    VariantMap map;
    for (const auto& [key, value] : object.items()) {
        if (!value.is_null()) map.emplace(bus_text(key), variant_of(key, value, depth));
    }
    return map;
}

}  // namespace

VariantMap to_variant_map(const json& object) {
    if (!object.is_object()) throw Error(ErrorKind::failed, "the answer is not a JSON object");
    return map_of(object, 0);
}

std::vector<VariantMap> to_variant_maps(const json& array) {
    if (!array.is_array()) throw Error(ErrorKind::failed, "the answer is not a JSON array");
    return maps_of("answer", array, 0);
}

}  // namespace imaged
