// SPDX-License-Identifier: Apache-2.0
// SHA-256, computed by OpenSSL because it uses the CPU's SHA instructions.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

struct evp_md_ctx_st;

namespace imaged {

// The 32 bytes of a SHA-256: an OSTree object's name, or a digest's value.
struct Checksum {
    std::array<std::uint8_t, 32> bytes{};

    std::string hex() const;
    // Returns nullopt unless TEXT is 64 lower-case hex digits.
    static std::optional<Checksum> from_hex(std::string_view text);
    auto operator<=>(const Checksum&) const = default;
};

// One hash in progress. Not thread-safe; reusable after finish().
class Sha256 {
public:
    Sha256();
    void update(std::span<const std::byte> bytes);
    void update(std::string_view bytes) { update(std::as_bytes(std::span(bytes))); }
    // The checksum of everything since construction or the last finish().
    Checksum finish();

private:
    struct Free {
        void operator()(evp_md_ctx_st* context) const;
    };
    std::unique_ptr<evp_md_ctx_st, Free> context_;
};

Checksum sha256(std::span<const std::byte> bytes);
inline Checksum sha256(std::string_view bytes) {
    return sha256(std::as_bytes(std::span(bytes)));
}

}  // namespace imaged

template <>
struct std::hash<imaged::Checksum> {
    // A checksum is its own hash.
    std::size_t operator()(const imaged::Checksum& checksum) const noexcept {
        std::size_t value;
        std::memcpy(&value, checksum.bytes.data(), sizeof value);
        return value;
    }
};
