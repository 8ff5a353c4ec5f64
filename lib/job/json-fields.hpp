// SPDX-License-Identifier: Apache-2.0
// Converts structs that list their members (job/fields.hpp) to JSON and back. Pure functions.
#pragma once

#include <chrono>
#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/enum-names.hpp"
#include "base/error.hpp"
#include "base/json.hpp"
#include "job/fields.hpp"
#include "oci/digest.hpp"
#include "oci/image-reference.hpp"

namespace imaged::job {

[[noreturn]] inline void refuse_message(const std::string& what) {
    throw Error(ErrorKind::failed, "job protocol: " + what);
}

template <typename T>
nlohmann::json to_json(const T& value);

struct JsonWriter : FieldVisitor<JsonWriter> {
    nlohmann::json object = nlohmann::json::object();

    template <typename Value>
    void operator()(const char* key, const Value& value) {
        if constexpr (is_optional<Value>) {
            if (value) object[key] = to_json(*value);
        } else {
            object[key] = to_json(value);
        }
    }
};

template <typename T>
nlohmann::json to_json(const T& value) {
    if constexpr (HasFields<T>) {
        JsonWriter writer;
        T::fields(value, writer);
        return std::move(writer.object);
    } else if constexpr (is_vector<T>) {
        auto array = nlohmann::json::array();
        for (const auto& element : value) array.push_back(to_json(element));
        return array;
    } else if constexpr (is_map<T>) {
        auto object = nlohmann::json::object();
        for (const auto& [key, member] : value) object[key] = to_json(member);
        return object;
    } else if constexpr (std::same_as<T, ImageReference>) {
        return value.canonical();
    } else if constexpr (std::same_as<T, Digest>) {
        return value.text();
    } else if constexpr (std::same_as<T, std::chrono::milliseconds>) {
        return static_cast<std::uint64_t>(value.count());
    } else if constexpr (std::is_enum_v<T>) {
        return std::string(to_string(value));
    } else if constexpr (std::same_as<T, HeldJson>) {
        return *value;
    } else {
        return value;
    }
}

template <typename T>
T from_json(const nlohmann::json& object);

// Throws Error(failed) naming KEY where VALUE is not as its type wants it.
template <typename T>
void read_json(const std::string& key, const nlohmann::json& value, T& into) {
    const auto require = [&](bool right, const char* what) {
        if (!right) refuse_message("\"" + key + "\" is not " + what);
    };
    if constexpr (std::same_as<T, std::optional<Digest>>) {
        require(value.is_string(), "a string");
        into = Digest::parse(value.get_ref<const std::string&>());
    } else if constexpr (is_optional<T>) {
        read_json(key, value, into.emplace());
    } else if constexpr (HasFields<T>) {
        into = from_json<T>(value);
    } else if constexpr (is_vector<T>) {
        require(value.is_array(), "an array");
        for (const auto& element : value) read_json(key, element, into.emplace_back());
    } else if constexpr (is_map<T>) {
        require(value.is_object(), "an object");
        for (const auto& [name, member] : value.items()) read_json(key, member, into[name]);
    } else if constexpr (std::same_as<T, HeldJson>) {
        require(value.is_object(), "an object");
        into = HeldJson(value);
    } else if constexpr (std::same_as<T, bool>) {
        require(value.is_boolean(), "a boolean");
        into = value.get<bool>();
    } else if constexpr (std::integral<T>) {
        require(value.is_number_unsigned(), "an unsigned number");
        const auto number = value.get<std::uint64_t>();
        require(std::in_range<T>(number), "a number that small");
        into = static_cast<T>(number);
    } else if constexpr (std::same_as<T, double>) {
        require(value.is_number(), "a number");
        into = value.get<double>();
    } else if constexpr (std::same_as<T, std::chrono::milliseconds>) {
        std::uint64_t count = 0;
        read_json(key, value, count);
        into = T(count);
    } else {
        require(value.is_string(), "a string");
        const auto& text = value.get_ref<const std::string&>();
        if constexpr (Named<T>) {
            const auto named = names_of(into).value(text);
            if (!named) refuse_message("\"" + key + "\" has the unknown value \"" + text + "\"");
            into = *named;
        } else if constexpr (std::same_as<T, ImageReference>) {
            into = T::parse(text);
        } else {
            into = text;
        }
    }
}

struct JsonReader : FieldVisitor<JsonReader> {
    explicit JsonReader(const nlohmann::json& from) : object(from) {}
    const nlohmann::json& object;
    std::vector<std::string_view> known;

    template <typename Value>
    void operator()(const char* key, Value& value) {
        known.emplace_back(key);
        const auto found = object.find(key);
        if (found != object.end() && !found->is_null()) read_json(key, *found, value);
    }
};

// Absent members keep their defaults. Throws Error(failed) naming a member that is unknown or of another type: both
// ends are of one build.
template <typename T>
T from_json(const nlohmann::json& object) {
    if (!object.is_object()) refuse_message("no JSON object");
    T value;
    JsonReader reader(object);
    T::fields(value, reader);
    for (const auto& [key, member] : object.items()) {
        bool known = false;
        for (const auto candidate : reader.known) known = known || candidate == key;
        if (!known) refuse_message("unknown key \"" + key + "\"");
    }
    return value;
}

}  // namespace imaged::job
