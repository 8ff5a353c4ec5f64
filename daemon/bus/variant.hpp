// SPDX-License-Identifier: Apache-2.0
// JSON as the engine speaks it → D-Bus values as the interface describes them. The rule is job::Result's, the
// exceptions are in variant.cpp.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/json.hpp"
#include "process/sdbus-shim.hpp"

namespace imaged {

using VariantMap = std::map<std::string, sdbus::Variant>;

// OBJECT as a{sv}; null members are left out. Throws Error(failed) naming a key that has no D-Bus form.
VariantMap to_variant_map(const nlohmann::json& object);
// An array of objects as aa{sv}.
std::vector<VariantMap> to_variant_maps(const nlohmann::json& array);

}  // namespace imaged
