// SPDX-License-Identifier: Apache-2.0
#include "packages/rpm-header.hpp"

#include <algorithm>
#include <cstdint>
#include <optional>

#include "base/error.hpp"

namespace imaged {

namespace {

// Tags and types of rpm's header format.
constexpr std::uint32_t tag_name = 1000, tag_version = 1001, tag_release = 1002, tag_epoch = 1003, tag_arch = 1022;
constexpr std::uint32_t type_int32 = 4, type_string = 6;
constexpr std::size_t counts_bytes = 8, entry_bytes = 16;

[[noreturn]] void refuse(const std::string& what) {
    throw Error(ErrorKind::corrupt_input, "the header of a package " + what);
}

std::uint32_t number_at(std::span<const std::byte> bytes, std::size_t offset) {
    std::uint32_t value = 0;
    for (const auto byte : bytes.subspan(offset, 4)) value = value << 8U | std::to_integer<std::uint32_t>(byte);
    return value;
}

class Header {
public:
    explicit Header(std::span<const std::byte> bytes) {
        if (bytes.size() < counts_bytes) refuse("is cut");
        const std::uint64_t entries = number_at(bytes, 0), store = number_at(bytes, 4);
        if (counts_bytes + entries * entry_bytes + store > bytes.size()) refuse("is cut");
        index_ = bytes.subspan(counts_bytes, entries * entry_bytes);
        store_ = bytes.subspan(counts_bytes + index_.size(), store);
    }

    std::optional<std::string> text(std::uint32_t tag) const {
        const auto bytes = value(tag, type_string);
        if (!bytes) return std::nullopt;
        const auto end = std::find(bytes->begin(), bytes->end(), std::byte{0});
        if (end == bytes->end()) refuse("has a text without an end");
        return std::string(reinterpret_cast<const char*>(bytes->data()),
                           static_cast<std::size_t>(end - bytes->begin()));
    }
    std::optional<std::uint32_t> number(std::uint32_t tag) const {
        const auto bytes = value(tag, type_int32);
        if (!bytes) return std::nullopt;
        if (bytes->size() < 4) refuse("has a number outside of it");
        return number_at(*bytes, 0);
    }

private:
    // The store from where the value of TAG begins; nullopt if the header has no such tag.
    std::optional<std::span<const std::byte>> value(std::uint32_t tag, std::uint32_t type) const {
        for (auto rest = index_; !rest.empty(); rest = rest.subspan(entry_bytes)) {
            if (number_at(rest, 0) != tag) continue;
            if (number_at(rest, 4) != type) refuse("has a tag of another type");
            const auto offset = number_at(rest, 8);
            if (offset > store_.size()) refuse("has a value outside of it");
            return store_.subspan(offset);
        }
        return std::nullopt;
    }

    std::span<const std::byte> index_, store_;
};

}  // namespace

Package parse_rpm_header(std::span<const std::byte> bytes) {
    const Header header(bytes);
    const auto name = header.text(tag_name), version = header.text(tag_version), release = header.text(tag_release);
    if (!name || !version || !release) refuse("has no name, version or release");
    const auto epoch = header.number(tag_epoch);
    return {PackageFormat::rpm, *name, header.text(tag_arch).value_or(""),
            (epoch ? std::to_string(*epoch) + ":" : "") + *version + "-" + *release};
}

}  // namespace imaged
