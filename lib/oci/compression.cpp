// SPDX-License-Identifier: Apache-2.0
#include "oci/compression.hpp"

namespace imaged {

CompressionFormat compression_of(std::string_view bytes) {
    using namespace std::string_view_literals;
    // A zstd stream may begin with a frame that is to be skipped: 0x184d2a5 and any four bits, little-endian.
    const bool skippable = bytes.size() >= 4 && (static_cast<unsigned char>(bytes[0]) & 0xf0) == 0x50 &&
                           bytes.substr(1, 3) == "\x2a\x4d\x18"sv;
    if (bytes.starts_with("\x1f\x8b"sv)) return CompressionFormat::gzip;
    if (skippable || bytes.starts_with("\x28\xb5\x2f\xfd"sv)) return CompressionFormat::zstd;
    if (bytes.starts_with("\xfd\x37zXZ\0"sv)) return CompressionFormat::xz;
    if (bytes.starts_with("BZh"sv)) return CompressionFormat::bzip2;
    return CompressionFormat::none;
}

}  // namespace imaged
