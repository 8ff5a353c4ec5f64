// SPDX-License-Identifier: Apache-2.0
// Writes and reads binary records, in the byte order of the machine, with a SHA-256 at their end.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/checksum.hpp"
#include "base/error.hpp"

namespace imaged {

// Appends the bytes of VALUE. Its type has no padding, which could contain anything that was in memory.
template <typename Value>
void append(std::string& text, const Value& value) {
    static_assert(std::is_trivially_copyable_v<Value> && std::has_unique_object_representations_v<Value>);
    text.append(reinterpret_cast<const char*>(&value), sizeof value);
}

// Appends the length of VALUE, then VALUE.
inline void append_text(std::string& text, std::string_view value) {
    append(text, std::uint64_t{value.size()});
    text += value;
}

// Appends the number of VALUES, then VALUES.
template <typename Value>
void append_all(std::string& text, const std::vector<Value>& values) {
    static_assert(std::is_trivially_copyable_v<Value> && std::has_unique_object_representations_v<Value>);
    append(text, std::uint64_t{values.size()});
    text.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(Value));
}

// Takes a record apart. Throws Error(corrupt_input) if it is cut off or too long.
class RecordReader {
public:
    explicit RecordReader(std::string_view text) : text_(text) {}

    template <typename Value>
    Value take() {
        static_assert(std::is_trivially_copyable_v<Value>);
        Value value;
        std::memcpy(&value, take_bytes(sizeof value).data(), sizeof value);
        return value;
    }
    template <typename Value>
    std::vector<Value> take_all(const Value& blank) {
        static_assert(std::is_trivially_copyable_v<Value>);
        const auto count = take<std::uint64_t>();
        const auto bytes = take_bytes(count > text_.size() ? text_.size() + 1 : count * sizeof(Value));
        std::vector<Value> values(count, blank);
        if (count > 0) std::memcpy(static_cast<void*>(values.data()), bytes.data(), bytes.size());
        return values;
    }
    std::string_view take_text() { return take_bytes(take<std::uint64_t>()); }
    std::string_view take_bytes(std::uint64_t size) {
        if (text_.size() < size) throw Error(ErrorKind::corrupt_input, "the record is cut off");
        const auto text = text_.substr(0, size);
        text_.remove_prefix(size);
        return text;
    }
    bool at_end() const { return text_.empty(); }
    void require_end() const {
        if (!at_end()) throw Error(ErrorKind::corrupt_input, "the record is too long");
    }

private:
    std::string_view text_;
};

inline void seal(std::string& text) {
    append(text, sha256(text));
}

// Returns what was sealed, without VERSION; nullopt if TEXT does not begin with VERSION or has changed.
inline std::optional<std::string_view> unsealed(std::string_view text, std::string_view version) {
    if (!text.starts_with(version) || text.size() < version.size() + sizeof(Checksum)) return std::nullopt;
    const auto body = text.substr(0, text.size() - sizeof(Checksum));
    if (sha256(body) != RecordReader(text.substr(body.size())).take<Checksum>()) return std::nullopt;
    return body.substr(version.size());
}

}  // namespace imaged
