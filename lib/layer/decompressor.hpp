// SPDX-License-Identifier: Apache-2.0
// Decompresses layers: gzip (RFC 1952, any number of members), zstd (RFC 8878, any number of frames and skippable
// frames), uncompressed ones, and the formats of foreign-compressions.hpp. The content decides, not the media type:
// registries mislabel layers.
#pragma once

#include <memory>

#include "layer/byte-source.hpp"

namespace imaged {

// A zstd stream may ask its reader for a window of up to 2 GiB. 128 MiB is what the zstd command takes without being
// asked to, and covers every level and --long. The memory is taken for each layer that is read at the time, and only if
// its stream asks for it: every level up to 19 asks for 8 MiB or less.
inline constexpr int max_zstd_window_log = 27;

// The decompressed bytes of UPSTREAM, which is borrowed. Looks at the first bytes. Trailing bytes that start no further
// gzip member are skipped: the diff-id decides whether the layer is right. Reading throws Error(corrupt_input)
// with the offset in the compressed stream, or Error(unsupported_image) for a stream that needs too much memory.
std::unique_ptr<ByteSource> decompress(ByteSource& upstream);

}  // namespace imaged
