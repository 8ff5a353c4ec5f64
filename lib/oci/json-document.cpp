// SPDX-License-Identifier: Apache-2.0
#include "oci/json-document.hpp"

#include "base/error.hpp"
#include "base/json.hpp"

namespace imaged {

namespace {

using nlohmann::json;

// OCI documents nest five levels deep; the parser's stack and the tree's size stay small with this.
constexpr int max_depth = 32;
// A manifest with every limit used has some 20,000 values; small values cost far more memory than text.
constexpr std::size_t max_values = 200'000;

[[noreturn]] void refuse(const std::string& what) {
    throw Error(ErrorKind::corrupt_input, what);
}

// Counts what a document has before it is built. (A callback of the parser would do, but makes it look at all members
// of an array whenever one of them ends.)
class Watch : public nlohmann::json_sax<json> {
public:
    explicit Watch(const std::string& what) : what_(what) {}

    bool null() override { return value(); }
    bool boolean(bool) override { return value(); }
    bool number_integer(number_integer_t) override { return value(); }
    bool number_unsigned(number_unsigned_t) override { return value(); }
    bool number_float(number_float_t, const string_t&) override { return value(); }
    bool string(string_t&) override { return value(); }
    bool binary(binary_t&) override { return value(); }
    bool key(string_t&) override { return value(); }
    bool start_object(std::size_t) override { return enter(); }
    bool start_array(std::size_t) override { return enter(); }
    bool end_object() override { return leave(); }
    bool end_array() override { return leave(); }
    bool parse_error(std::size_t, const std::string&, const json::exception& error) override {
        refuse(what_ + " is not JSON: " + error.what());
    }

private:
    bool value() {
        if (++values_ > max_values) refuse(what_ + " has more than " + std::to_string(max_values) + " values");
        return true;
    }
    bool enter() {
        if (++depth_ > max_depth) refuse(what_ + " is nested deeper than " + std::to_string(max_depth) + " levels");
        return value();
    }
    bool leave() {
        --depth_;
        return true;
    }

    const std::string& what_;
    std::size_t values_ = 0;
    int depth_ = 0;
};

const json* find(const json& object, const char* key) {
    const auto found = object.find(key);
    return found == object.end() || found->is_null() ? nullptr : &*found;
}

}  // namespace

json parse_document(std::string_view text, std::size_t limit, const std::string& what) {
    if (text.size() > limit) refuse(what + " is larger than the limit of " + std::to_string(limit) + " bytes");
    try {
        Watch watch(what);
        json::sax_parse(text, &watch);
        auto document = json::parse(text);
        if (!document.is_object()) refuse(what + " is not a JSON object");
        return document;
    } catch (const json::exception& error) {
        refuse(what + " is not JSON: " + error.what());
    }
}

std::optional<std::string> optional_text(const json& object, const char* key) {
    const auto* value = find(object, key);
    if (value == nullptr) return std::nullopt;
    if (!value->is_string()) refuse(std::string("\"") + key + "\" is not a string");
    return value->get<std::string>();
}

std::string required_text(const json& object, const char* key) {
    auto value = optional_text(object, key);
    if (!value) refuse(std::string("\"") + key + "\" is missing");
    return *std::move(value);
}

std::uint64_t required_count(const json& object, const char* key) {
    const auto* value = find(object, key);
    if (value == nullptr) refuse(std::string("\"") + key + "\" is missing");
    if (!value->is_number_unsigned() || value->get<std::uint64_t>() > INT64_MAX)
        refuse(std::string("\"") + key + "\" is not a size in bytes: " + value->dump().substr(0, 40));
    return value->get<std::uint64_t>();
}

const json* optional_object(const json& object, const char* key) {
    const auto* value = find(object, key);
    if (value != nullptr && !value->is_object()) refuse(std::string("\"") + key + "\" is not an object");
    return value;
}

const json* optional_array(const json& object, const char* key) {
    const auto* value = find(object, key);
    if (value != nullptr && !value->is_array()) refuse(std::string("\"") + key + "\" is not an array");
    return value;
}

std::map<std::string, std::string> optional_text_map(const json& object, const char* key) {
    std::map<std::string, std::string> map;
    if (const auto* value = optional_object(object, key)) {
        for (const auto& [name, text] : value->items()) {
            if (!text.is_string() && !text.is_null())
                refuse(std::string("\"") + key + "\": \"" + name + "\" is not a string");
            // Go's programs take a null for an empty text.
            map.emplace(name, text.is_null() ? std::string() : text.get<std::string>());
        }
    }
    return map;
}

}  // namespace imaged
