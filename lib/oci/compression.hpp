// SPDX-License-Identifier: Apache-2.0
// Recognises the compression of layers and archives by their first bytes, never by a name or a media type.
#pragma once

#include <cstddef>
#include <string_view>

namespace imaged {

enum class CompressionFormat { none, gzip, zstd, xz, bzip2 };

// What compression_of() needs to see, if there is as much.
inline constexpr std::size_t max_magic_bytes = 6;

// Of a file or stream that begins with BYTES.
CompressionFormat compression_of(std::string_view bytes);

// As the media type of a layer names it after a "+"; empty for none.
std::string_view compression_name(CompressionFormat compression);

}  // namespace imaged
