// SPDX-License-Identifier: Apache-2.0
// A byte as two lower-case hex digits: the names of a repository's object directories, "00" to "ff".
#pragma once

#include <string>

namespace imaged {

inline std::string hex_byte(unsigned char byte) {
    constexpr const char* digits = "0123456789abcdef";
    return {digits[byte / 16], digits[byte % 16]};
}

}  // namespace imaged
