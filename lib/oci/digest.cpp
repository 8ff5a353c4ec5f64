// SPDX-License-Identifier: Apache-2.0
#include "oci/digest.hpp"

#include "base/error.hpp"

namespace imaged {

namespace {

constexpr std::string_view algorithm = "sha256:";

}  // namespace

std::optional<Digest> Digest::find(std::string_view text) {
    if (!text.starts_with(algorithm)) return std::nullopt;
    const auto checksum = Checksum::from_hex(text.substr(algorithm.size()));
    return checksum ? std::optional(Digest(*checksum)) : std::nullopt;
}

Digest Digest::parse(std::string_view text) {
    if (const auto digest = find(text)) return *digest;
    const auto colon = text.find(':');
    // A hostile digest may be megabytes long; an error message must not be.
    const auto shown = "\"" + std::string(text.substr(0, 100)) + "\"";
    if (colon == std::string_view::npos || colon == 0) throw Error(ErrorKind::corrupt_input, "not a digest: " + shown);
    if (text.substr(0, colon) != "sha256") {
        if (text.substr(0, colon) == "sha512" || text.substr(0, colon) == "sha384")
            throw Error(ErrorKind::unsupported_image, "digest algorithm is not sha256: " + shown);
        throw Error(ErrorKind::corrupt_input, "unknown digest algorithm: " + shown);
    }
    throw Error(ErrorKind::corrupt_input, "sha256 digest is not 64 lower-case hex digits: " + shown);
}

bool begins_digest(std::string_view text) {
    if (text.starts_with(algorithm)) text.remove_prefix(algorithm.size());
    return !text.empty() && text.size() <= 64 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

bool begins_with(const Digest& digest, std::string_view text) {
    if (text.starts_with(algorithm)) text.remove_prefix(algorithm.size());
    return digest.hex().starts_with(text);
}

}  // namespace imaged
