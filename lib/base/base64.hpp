// SPDX-License-Identifier: Apache-2.0
// Base 64 (RFC 4648, section 4), with its padding.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace imaged {

// The bytes that TEXT stands for; nothing for an empty text and for any that is no base 64.
std::optional<std::string> decode_base64(std::string_view text);
std::string encode_base64(std::string_view bytes);

}  // namespace imaged
