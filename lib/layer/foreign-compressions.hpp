// SPDX-License-Identifier: Apache-2.0
// Decompresses xz and bzip2. The specification of images has neither, but docker, podman and skopeo accept such layers.
#pragma once

#include <cstdint>
#include <memory>

#include "layer/compressed-input.hpp"

namespace imaged {

// `xz -9` needs 65 MiB and the default 9 MiB. The memory is taken for each layer that is read at the time, and only if
// its stream asks for it.
inline constexpr std::uint64_t max_xz_memory_bytes = 128 * 1024 * 1024;

// Any number of streams one after the other. Reading throws Error(corrupt_input) with the offset in the compressed
// stream, or Error(unsupported_image) for a stream that needs more memory or other filters.
std::unique_ptr<ByteSource> xz_source(std::unique_ptr<CompressedInput> input);
// The same for bzip2; skips bytes after the last stream.
std::unique_ptr<ByteSource> bzip2_source(std::unique_ptr<CompressedInput> input);

}  // namespace imaged
