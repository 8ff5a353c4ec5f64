// SPDX-License-Identifier: Apache-2.0
#include "oci/compression.hpp"

namespace imaged {

Compression compression_of(std::string_view bytes) {
    using namespace std::string_view_literals;
    // A zstd stream may begin with a frame that is to be skipped: 0x184d2a5 and any four bits, little-endian.
    const bool skippable = bytes.size() >= 4 && (static_cast<unsigned char>(bytes[0]) & 0xf0) == 0x50 &&
                           bytes.substr(1, 3) == "\x2a\x4d\x18"sv;
    if (bytes.starts_with("\x1f\x8b"sv)) return Compression::gzip;
    if (skippable || bytes.starts_with("\x28\xb5\x2f\xfd"sv)) return Compression::zstd;
    if (bytes.starts_with("\xfd\x37zXZ\0"sv)) return Compression::xz;
    if (bytes.starts_with("BZh"sv)) return Compression::bzip2;
    return Compression::none;
}

std::string_view compression_name(Compression compression) {
    switch (compression) {
        case Compression::gzip: return "gzip";
        case Compression::zstd: return "zstd";
        case Compression::xz: return "xz";
        case Compression::bzip2: return "bzip2";
        case Compression::none: break;
    }
    return "";
}

}  // namespace imaged
