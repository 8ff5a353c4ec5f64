// SPDX-License-Identifier: Apache-2.0
#include "oci/json-document.hpp"

#include "base/error.hpp"

namespace imaged {

namespace {

using nlohmann::json;

// OCI documents nest five levels deep; the parser's stack and the tree's size stay small with this.
constexpr int max_depth = 32;
// A manifest with every limit used has some 20,000 values; small values cost far more memory than text.
constexpr std::size_t max_values = 200'000;

[[noreturn]] void refuse(const std::string& what) {
    throw Error(ErrorKind::corrupt_input, what);
}

const json* find(const json& object, const char* key) {
    const auto found = object.find(key);
    return found == object.end() || found->is_null() ? nullptr : &*found;
}

}  // namespace

json parse_document(std::string_view text, std::size_t limit, const std::string& what) {
    if (text.size() > limit) refuse(what + " is larger than the limit of " + std::to_string(limit) + " bytes");
    std::size_t values = 0;
    const auto watch = [&](int depth, json::parse_event_t, json&) {
        if (depth > max_depth) refuse(what + " is nested deeper than " + std::to_string(max_depth) + " levels");
        if (++values > max_values) refuse(what + " has more than " + std::to_string(max_values) + " values");
        return true;
    };
    try {
        auto document = json::parse(text, watch);
        if (!document.is_object()) refuse(what + " is not a JSON object");
        return document;
    } catch (const json::exception& error) {
        refuse(what + " is not JSON: " + error.what());
    }
}

std::optional<std::string> optional_text(const json& object, const char* key) {
    const auto* value = find(object, key);
    if (value == nullptr) return std::nullopt;
    if (!value->is_string()) refuse(std::string("\"") + key + "\" is not a string");
    return value->get<std::string>();
}

std::string required_text(const json& object, const char* key) {
    auto value = optional_text(object, key);
    if (!value) refuse(std::string("\"") + key + "\" is missing");
    return *std::move(value);
}

std::uint64_t required_count(const json& object, const char* key) {
    const auto* value = find(object, key);
    if (value == nullptr) refuse(std::string("\"") + key + "\" is missing");
    if (!value->is_number_unsigned() || value->get<std::uint64_t>() > INT64_MAX)
        refuse(std::string("\"") + key + "\" is not a size in bytes: " + value->dump().substr(0, 40));
    return value->get<std::uint64_t>();
}

const json* optional_object(const json& object, const char* key) {
    const auto* value = find(object, key);
    if (value != nullptr && !value->is_object()) refuse(std::string("\"") + key + "\" is not an object");
    return value;
}

const json* optional_array(const json& object, const char* key) {
    const auto* value = find(object, key);
    if (value != nullptr && !value->is_array()) refuse(std::string("\"") + key + "\" is not an array");
    return value;
}

std::map<std::string, std::string> optional_text_map(const json& object, const char* key) {
    std::map<std::string, std::string> map;
    if (const auto* value = optional_object(object, key)) {
        for (const auto& [name, text] : value->items()) {
            if (!text.is_string()) refuse(std::string("\"") + key + "\": \"" + name + "\" is not a string");
            map.emplace(name, text.get<std::string>());
        }
    }
    return map;
}

}  // namespace imaged
