// SPDX-License-Identifier: Apache-2.0
// Content digests (OCI image-spec, "Digests"). Only sha256 is accepted: it is what every layer ref in a repository is
// made from.
#pragma once

#include <compare>
#include <optional>
#include <string>
#include <string_view>

#include "base/checksum.hpp"

namespace imaged {

// The digest of a blob. A value type.
class Digest {
public:
    explicit Digest(const Checksum& checksum) : checksum_(checksum) {}
    // Throws Error(unsupported_image) for a well-formed digest of another algorithm, Error(corrupt_input) otherwise.
    static Digest parse(std::string_view text);
    // Returns nullopt unless TEXT is "sha256:" and 64 lower-case hex digits.
    static std::optional<Digest> find(std::string_view text);

    const Checksum& checksum() const { return checksum_; }
    // "sha256:" and 64 lower-case hex digits.
    std::string text() const { return "sha256:" + hex(); }
    std::string hex() const { return checksum_.hex(); }
    auto operator<=>(const Digest&) const = default;

private:
    Checksum checksum_;
};

// Whether TEXT is a digest or the beginning of one, with or without "sha256:".
bool begins_digest(std::string_view text);
// Whether DIGEST begins with TEXT, of which that is true.
bool begins_with(const Digest& digest, std::string_view text);

}  // namespace imaged
