// SPDX-License-Identifier: Apache-2.0
// JSON for files that only pass it on. base/json.hpp, which costs a compiler seconds in each file that includes it, is
// for those that look into a value.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace imaged {

// A value as a member of a struct. It does not change, and copies share it.
class HeldJson {
public:
    HeldJson();  // an object without members
    explicit HeldJson(nlohmann::json value);
    const nlohmann::json& operator*() const { return *value_; }
    const nlohmann::json* operator->() const { return value_.get(); }

private:
    std::shared_ptr<const nlohmann::json> value_;
};

// The value of TEXT; a discarded value if TEXT is not JSON. Nesting is not limited: see base/json-nesting.hpp.
nlohmann::json parse_json(std::string_view text);
nlohmann::ordered_json parse_ordered_json(std::string_view text);

// DOCUMENT on one line. Bytes that are not UTF-8 become replacement characters, so it never throws.
std::string json_text(const nlohmann::json& document);
std::string json_text(const nlohmann::ordered_json& document);

}  // namespace imaged
