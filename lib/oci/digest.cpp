// SPDX-License-Identifier: Apache-2.0
#include "oci/digest.hpp"

#include "base/checksum.hpp"
#include "base/error.hpp"

namespace imaged {

Digest Digest::parse(std::string_view text) {
    const auto colon = text.find(':');
    // A hostile digest may be megabytes long; an error message must not be.
    const auto shown = "\"" + std::string(text.substr(0, 100)) + "\"";
    if (colon == std::string_view::npos || colon == 0) throw Error(ErrorKind::corrupt_input, "not a digest: " + shown);
    if (text.substr(0, colon) != "sha256") {
        if (text.substr(0, colon) == "sha512" || text.substr(0, colon) == "sha384")
            throw Error(ErrorKind::unsupported_image, "digest algorithm is not sha256: " + shown);
        throw Error(ErrorKind::corrupt_input, "unknown digest algorithm: " + shown);
    }
    if (!Checksum::from_hex(text.substr(colon + 1)))
        throw Error(ErrorKind::corrupt_input, "sha256 digest is not 64 lower-case hex digits: " + shown);
    return Digest(std::string(text));
}

bool begins_digest(std::string_view text) {
    constexpr std::string_view algorithm = "sha256:";
    if (text.starts_with(algorithm)) text.remove_prefix(algorithm.size());
    return !text.empty() && text.size() <= 64 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

bool begins_with(const Digest& digest, std::string_view text) {
    return digest.text().starts_with(text) || digest.hex().starts_with(text);
}

}  // namespace imaged
