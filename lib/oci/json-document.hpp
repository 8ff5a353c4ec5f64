// SPDX-License-Identifier: Apache-2.0
// Reads fields of untrusted JSON documents. Every function throws Error(corrupt_input) that names the field it refused.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/json-fwd.hpp"

namespace imaged {

// TEXT as a JSON object. Refuses text over LIMIT bytes, text that is not UTF-8, and nesting too deep to be an OCI
// document.
nlohmann::json parse_document(std::string_view text, std::size_t limit, const std::string& what);

// The member KEY; absence and null are the same.
std::optional<std::string> optional_text(const nlohmann::json& object, const char* key);
std::string required_text(const nlohmann::json& object, const char* key);
std::uint64_t required_count(const nlohmann::json& object, const char* key);
const nlohmann::json* optional_object(const nlohmann::json& object, const char* key);
const nlohmann::json* optional_array(const nlohmann::json& object, const char* key);
std::map<std::string, std::string> optional_text_map(const nlohmann::json& object, const char* key);

}  // namespace imaged
