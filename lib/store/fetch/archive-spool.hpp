// SPDX-License-Identifier: Apache-2.0
// Turns an archive of an image into a file that can be read at any position.
#pragma once

#include <chrono>

#include "base/cancellation.hpp"
#include "base/file-descriptor.hpp"
#include "store/repository/repository.hpp"

namespace imaged {

// More than any image in the wild; ends a decompression bomb before the disk is full of it.
inline constexpr std::uint64_t max_spooled_bytes = 256ULL * 1024 * 1024 * 1024;

// INPUT itself, from its beginning, where it is an uncompressed regular file. A pipe is written to a nameless file in
// a scratch directory of the repository, and so is what a compressed archive decompresses to. Throws Error(no_space),
// Error(unsupported_image) for more than the limit, Error(corrupt_input), Error(source_unreachable) for a writer that
// stalls.
FileDescriptor seekable_archive(int input, const Repository& repository, std::chrono::milliseconds stall_time,
                                const Cancellation& cancellation);

}  // namespace imaged
