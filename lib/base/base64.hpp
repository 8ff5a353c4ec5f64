// SPDX-License-Identifier: Apache-2.0
// Encodes and decodes base 64 (RFC 4648, section 4), with padding.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace imaged {

// Returns the bytes that TEXT encodes; nullopt if TEXT is empty or not valid base 64.
std::optional<std::string> decode_base64(std::string_view text);
std::string encode_base64(std::string_view bytes);

}  // namespace imaged
