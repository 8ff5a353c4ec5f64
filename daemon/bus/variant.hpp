// SPDX-License-Identifier: Apache-2.0
// Converts JSON of workers and the catalog to the D-Bus values that the interface describes. The structs of lib/job say
// which members an answer has, and their C++ types which D-Bus type each gets. Pure functions.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/json.hpp"
#include "job/fields.hpp"
#include "job/kinds.hpp"
#include "process/bus-error.hpp"
#include "process/sdbus-shim.hpp"

namespace imaged {

// KEY has a value of another type than the interface says, or is not in it.
[[noreturn]] void refuse_value(const std::string& key);

template <typename Answer>
VariantMap to_variant_map(const nlohmann::json& object);

// VALUE of KEY as the D-Bus type that T stands for. Throws Error(failed).
template <typename T>
auto bus_value(const std::string& key, const nlohmann::json& value) {
    if constexpr (job::is_optional<T>) {
        return bus_value<typename T::value_type>(key, value);
    } else if constexpr (job::HasFields<T>) {
        return to_variant_map<T>(value);
    } else if constexpr (job::is_vector<T>) {
        if (!value.is_array()) refuse_value(key);
        std::vector<decltype(bus_value<typename T::value_type>(key, value))> list;
        list.reserve(value.size());
        for (const auto& element : value) list.push_back(bus_value<typename T::value_type>(key, element));
        return list;
    } else if constexpr (job::is_map<T>) {
        if (!value.is_object()) refuse_value(key);
        std::map<std::string, decltype(bus_value<typename T::mapped_type>(key, value))> map;
        for (const auto& [name, member] : value.items())
            map.emplace(bus_text(name), bus_value<typename T::mapped_type>(key, member));
        return map;
    } else if constexpr (std::same_as<T, std::string>) {
        if (!value.is_string()) refuse_value(key);
        return bus_text(value.get_ref<const std::string&>());
    } else if constexpr (std::same_as<T, bool>) {
        if (!value.is_boolean()) refuse_value(key);
        return value.get<bool>();
    } else {
        static_assert(
            std::same_as<T, std::uint32_t> || std::same_as<T, std::uint64_t>,
            "a value on the bus is a text, a bool, a std::uint32_t or std::uint64_t, or a list or map of them");
        if (!value.is_number_unsigned() && !(value.is_number_integer() && value.get<std::int64_t>() >= 0))
            refuse_value(key);
        const auto number = value.get<std::uint64_t>();
        if (!std::in_range<T>(number)) refuse_value(key);
        return static_cast<T>(number);
    }
}

class VariantWriter : public job::FieldVisitor<VariantWriter> {
public:
    explicit VariantWriter(const nlohmann::json& object) : object_(object) {}
    template <typename Value>
    void operator()(const char* key, const Value&) {
        const auto found = object_.find(key);
        if (found == object_.end()) return;
        ++known_;
        if (!found->is_null()) map_.emplace(key, sdbus::Variant(bus_value<Value>(key, *found)));
    }
    // Throws Error(failed) where the object has a member that was not asked for.
    VariantMap take();

private:
    const nlohmann::json& object_;
    std::size_t known_ = 0;  // members of it that are in the map, or null
    VariantMap map_;
};

// OBJECT as a{sv}; members that are null are left out. Throws Error(failed) naming a member that ANSWER has not, or has
// with another type.
template <typename Answer>
VariantMap to_variant_map(const nlohmann::json& object) {
    if (!object.is_object()) throw Error(ErrorKind::failed, "the answer is not a JSON object");
    const Answer answer;
    VariantWriter writer(object);
    Answer::fields(answer, writer);
    return writer.take();
}
// An array of such objects as aa{sv}.
template <typename Answer>
std::vector<VariantMap> to_variant_maps(const nlohmann::json& array) {
    return bus_value<std::vector<Answer>>("answer", array);
}

// DETAILS, the outcome of a job that did WORK, as a{sv}; "truncated" may be in it (job::Result).
VariantMap outcome_map(const job::Work& work, const nlohmann::json& details);

}  // namespace imaged
