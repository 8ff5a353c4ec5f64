// SPDX-License-Identifier: Apache-2.0
#include "base/checksum.hpp"

#include <openssl/evp.h>

#include "base/error.hpp"

namespace imaged {

namespace {

// Fetched once: an implicit fetch for each object costs more than hashing a small one.
const EVP_MD* algorithm() {
    static const EVP_MD* const sha256 = EVP_MD_fetch(nullptr, "SHA256", nullptr);
    return sha256;
}

// By character; 16 of those that are no digits. A table: a listing reads tens of thousands of checksums.
constexpr auto hex_values = [] {
    std::array<std::uint8_t, 256> values{};
    values.fill(16);
    for (unsigned i = 0; i < 16; ++i)
        values[static_cast<unsigned char>("0123456789abcdef"[i])] = static_cast<std::uint8_t>(i);
    return values;
}();

}  // namespace

std::string Checksum::hex() const {
    static constexpr char digits[] = "0123456789abcdef";
    std::string text(64, '0');
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        text[2 * i] = digits[bytes[i] >> 4];
        text[2 * i + 1] = digits[bytes[i] & 15];
    }
    return text;
}

std::optional<Checksum> Checksum::from_hex(std::string_view text) {
    Checksum checksum;
    if (text.size() != 2 * checksum.bytes.size()) return std::nullopt;
    unsigned seen = 0;
    for (std::size_t i = 0; i < checksum.bytes.size(); ++i) {
        const unsigned high = hex_values[static_cast<unsigned char>(text[2 * i])];
        const unsigned low = hex_values[static_cast<unsigned char>(text[2 * i + 1])];
        seen |= high | low;
        checksum.bytes[i] = static_cast<std::uint8_t>(high << 4U | low);
    }
    if (seen > 15) return std::nullopt;
    return checksum;
}

void Sha256::Free::operator()(evp_md_ctx_st* context) const {
    EVP_MD_CTX_free(context);
}

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
    if (!context_ || EVP_DigestInit_ex2(context_.get(), algorithm(), nullptr) != 1)
        throw Error(ErrorKind::failed, "SHA-256 is not available");
}

void Sha256::update(std::span<const std::byte> bytes) {
    if (EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) != 1)
        throw Error(ErrorKind::failed, "SHA-256 failed");
}

Checksum Sha256::finish() {
    Checksum checksum;
    if (EVP_DigestFinal_ex(context_.get(), checksum.bytes.data(), nullptr) != 1 ||
        EVP_DigestInit_ex2(context_.get(), algorithm(), nullptr) != 1)
        throw Error(ErrorKind::failed, "SHA-256 failed");
    return checksum;
}

Checksum sha256(std::span<const std::byte> bytes) {
    thread_local Sha256 hash;
    hash.update(bytes);
    return hash.finish();
}

}  // namespace imaged
