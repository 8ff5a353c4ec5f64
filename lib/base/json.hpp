// SPDX-License-Identifier: Apache-2.0
// nlohmann::json, compiled once. Include this header in place of <nlohmann/json.hpp>: the parser and the serializer of
// that header cost seconds in every file that uses them, and here they are in json.cpp only.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

extern template class nlohmann::basic_json<>;
extern template class nlohmann::basic_json<nlohmann::ordered_map>;

namespace imaged {

// The value of TEXT; a discarded value if TEXT is not JSON. Nesting is not limited: see base/json-nesting.hpp.
nlohmann::json parse_json(std::string_view text);
nlohmann::ordered_json parse_ordered_json(std::string_view text);

// DOCUMENT on one line. Bytes that are not UTF-8 become replacement characters, so it never throws.
std::string json_text(const nlohmann::json& document);
std::string json_text(const nlohmann::ordered_json& document);

}  // namespace imaged
