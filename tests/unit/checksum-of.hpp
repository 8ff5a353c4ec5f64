// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/checksum.hpp"

// The checksum whose 64 hexadecimal digits are all DIGIT.
inline imaged::Checksum checksum_of(char digit) {
    return *imaged::Checksum::from_hex(std::string(64, digit));
}
