// SPDX-License-Identifier: Apache-2.0
// Structs whose members have names, to JSON and back. A struct lists its members once, in a function that readers,
// writers and printers share:
//
//     template <typename Self, typename Fields>
//     static void fields(Self& self, Fields& fields) {
//         fields("digest", self.digest);
//     }
//
// To add a member, add a line. The C++ type decides the JSON type here, the D-Bus type in daemon/bus/variant.hpp. A
// std::optional that is empty is left out. Pure functions.
#pragma once

#include <chrono>
#include <concepts>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/error.hpp"
#include "base/json.hpp"
#include "oci/digest.hpp"
#include "oci/image-reference.hpp"

namespace imaged::job {

// What fields() may be given: any function of a name and a member. Members of a request that the caller gives as an
// option are passed to option(); where that makes no difference, it is this.
template <typename Derived>
struct FieldVisitor {
    template <typename Value>
    void option(const char* key, Value& value) {
        static_cast<Derived&> (*this)(key, value);
    }
};

struct AnyField : FieldVisitor<AnyField> {
    template <typename Value>
    void operator()(const char*, Value&) {}
};

template <typename T>
concept HasFields = requires(T& value, AnyField& fields) {
    T::fields(value, fields);
};

// An enumeration with to_string(value), and values_of(value) that lists all of them.
template <typename T>
concept Named = std::is_enum_v<T> && requires(T value) {
    values_of(value);
    to_string(value);
};

template <typename T>
inline constexpr bool is_optional = false;
template <typename T>
inline constexpr bool is_optional<std::optional<T>> = true;
template <typename T>
inline constexpr bool is_vector = false;
template <typename T>
inline constexpr bool is_vector<std::vector<T>> = true;
template <typename T>
inline constexpr bool is_map = false;
template <typename T>
inline constexpr bool is_map<std::map<std::string, T>> = true;

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
    } else if constexpr (std::same_as<T, nlohmann::json>) {
        require(value.is_object(), "an object");
        into = value;
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
            bool known = false;
            for (const auto candidate : values_of(into)) {
                if (to_string(candidate) != text) continue;
                into = candidate;
                known = true;
            }
            if (!known) refuse_message("\"" + key + "\" has the unknown value \"" + text + "\"");
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

// What is absent is at its default. Throws Error(failed) naming a member that is unknown or of another type: both ends
// are of one build.
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
