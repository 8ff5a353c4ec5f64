// SPDX-License-Identifier: Apache-2.0
// Content digests (OCI image-spec, "Digests"). Only sha256 is accepted: it is what every layer ref in a repository is
// made from.
#pragma once

#include <compare>
#include <string>
#include <string_view>

namespace imaged {

// "sha256:" and 64 lower-case hex digits. A value type.
class Digest {
public:
    // Throws Error(unsupported_image) for a well-formed digest of another algorithm, Error(corrupt_input) otherwise.
    static Digest parse(std::string_view text);
    // From 64 hex digits that are known to be right.
    static Digest from_hex(std::string_view hex) { return Digest("sha256:" + std::string(hex)); }

    const std::string& text() const { return text_; }
    std::string_view hex() const { return std::string_view(text_).substr(7); }
    auto operator<=>(const Digest&) const = default;

private:
    explicit Digest(std::string text) : text_(std::move(text)) {}
    std::string text_;
};

// Whether TEXT is a digest or the beginning of one, with or without "sha256:".
bool begins_digest(std::string_view text);
// Whether DIGEST begins with TEXT, of which that is true.
bool begins_with(const Digest& digest, std::string_view text);

}  // namespace imaged
