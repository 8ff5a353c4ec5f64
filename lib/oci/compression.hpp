// SPDX-License-Identifier: Apache-2.0
// Recognises the compression of layers and archives by their first bytes, never by a name or a media type.
#pragma once

#include <cstddef>
#include <string_view>

#include "base/enum-names.hpp"

namespace imaged {

// Their names are what the media type of a layer has after a "+"; none has no name.
enum class CompressionFormat { none, gzip, zstd, xz, bzip2 };
constexpr auto names_of(CompressionFormat) {
    return enum_names<CompressionFormat>({{CompressionFormat::gzip, "gzip"},
                                          {CompressionFormat::zstd, "zstd"},
                                          {CompressionFormat::xz, "xz"},
                                          {CompressionFormat::bzip2, "bzip2"}});
}

// Bytes that compression_of() needs to see, if there are as many.
inline constexpr std::size_t max_magic_bytes = 6;

// Returns the format of a file or stream that begins with BYTES.
CompressionFormat compression_of(std::string_view bytes);

}  // namespace imaged
