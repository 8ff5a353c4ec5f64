// SPDX-License-Identifier: Apache-2.0
#include "bus/variant.hpp"

namespace imaged {

void refuse_value(const std::string& key) {
    throw Error(ErrorKind::failed, "the value of \"" + key + "\" has no D-Bus form");
}

VariantMap VariantWriter::take() {
    if (known_ != object_.size())
        for (const auto& [key, value] : object_.items())
            if (!map_.contains(key) && !value.is_null()) refuse_value(key);
    return std::move(map_);
}

VariantMap outcome_map(const job::Work& work, const nlohmann::json& details) {
    if (!details.is_object()) throw Error(ErrorKind::failed, "the outcome is not a JSON object");
    auto members = details;
    const auto truncated = members.value(job::key::truncated, nlohmann::json());
    members.erase(job::key::truncated);
    auto map = std::visit(
        [&](const auto& kind) { return to_variant_map<typename std::decay_t<decltype(kind)>::Outcome>(members); },
        work);
    if (!truncated.is_null())
        map.emplace(job::key::truncated,
                    sdbus::Variant(bus_value<std::vector<std::string>>(job::key::truncated, truncated)));
    return map;
}

}  // namespace imaged
