// SPDX-License-Identifier: Apache-2.0
// Structs whose members have names. A struct lists its members once, in a function that readers, writers and printers
// share:
//
//     static void fields(auto& self, auto& fields) {
//         fields("digest", self.digest);
//     }
//
// To add a member, add a line. The C++ type decides the JSON type (job/json-fields.hpp) and the D-Bus type
// (daemon/bus/variant.hpp). A std::optional that is empty is left out.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace imaged::job {

// Base of the visitors for fields(), which call a function with a name and a member. Members that the caller gives as
// an option are passed to option(); where that makes no difference, it is this.
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

}  // namespace imaged::job
