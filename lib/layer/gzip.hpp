// SPDX-License-Identifier: Apache-2.0
// Gzip decompressors with the same behaviour: ISA-L's, which is three times as fast, and zlib's, which is always
// available. Tests hold them against each other.
#pragma once

#include <memory>

#include "layer/compressed-input.hpp"

namespace imaged {

std::unique_ptr<ByteSource> zlib_gzip(std::unique_ptr<CompressedInput> input);
#ifdef IMAGED_HAVE_ISAL
std::unique_ptr<ByteSource> isal_gzip(std::unique_ptr<CompressedInput> input);
#endif

// Whether INPUT goes on with another gzip member.
inline bool at_gzip_member(CompressedInput& input) {
    const auto bytes = input.peek(2);
    return bytes.size() >= 2 && bytes[0] == std::byte{0x1f} && bytes[1] == std::byte{0x8b};
}

}  // namespace imaged
