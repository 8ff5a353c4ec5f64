// SPDX-License-Identifier: Apache-2.0
// Prints what lib/job says of each kind of job as JSON, for tests: its name, its action, whether it only reads, whether
// updates and damage are counted again after it, its arguments, options and outcome with their D-Bus types. With an
// argument it prints the names of all phases instead.
#include <cstdio>

#include "job/job.hpp"
#include "job/json-fields.hpp"
#include "job/kinds.hpp"

using namespace imaged;

namespace {

template <typename T>
std::string bus_type() {
    if constexpr (job::is_optional<T>)
        return bus_type<typename T::value_type>();
    else if constexpr (job::HasFields<T>)
        return "a{sv}";
    else if constexpr (job::is_vector<T>)
        return "a" + bus_type<typename T::value_type>();
    else if constexpr (job::is_map<T>)
        return "a{s" + bus_type<typename T::mapped_type>() + "}";
    else if constexpr (std::same_as<T, bool>)
        return "b";
    else if constexpr (std::same_as<T, std::uint32_t>)
        return "u";
    else if constexpr (std::same_as<T, std::uint64_t>)
        return "t";
    else {
        static_assert(std::same_as<T, std::string> || !std::is_arithmetic_v<T>,
                      "a number on the bus is a std::uint32_t or std::uint64_t");
        return "s";
    }
}

struct Describer : job::FieldVisitor<Describer> {
    nlohmann::json members = nlohmann::json::object(), options = nlohmann::json::object();

    template <typename Value>
    void operator()(const char* key, Value&) {
        members[key] = bus_type<std::remove_const_t<Value>>();
    }
    template <typename Value>
    void option(const char* key, Value&) {
        options[key] = bus_type<std::remove_const_t<Value>>();
    }
};

}  // namespace

int main(int argc, char**) {
    auto kinds = nlohmann::json::array();
    if (argc > 1) {
        for (const auto& [phase, name] : names_of(job::Phase()).table) kinds.push_back(name);
        std::puts(json_text(kinds).c_str());
        return 0;
    }
    job::for_each_kind([&](auto kind) {
        Describer request, outcome;
        kind.fields(kind, request);
        typename decltype(kind)::Outcome found;
        found.fields(found, outcome);
        if (kind.traits.takes_authfile) request.options["authfile"] = "h";
        if (kind.traits.takes_place) request.options["place"] = "h";
        kinds.push_back({{"name", kind.traits.name},
                         {"action", kind.traits.action.value_or("")},
                         {"only-reads", kind.traits.only_reads},
                         {"recounts", kind.traits.recounts},
                         {"arguments", request.members},
                         {"options", request.options},
                         {"outcome", outcome.members}});
    });
    std::puts(json_text(kinds).c_str());
}
