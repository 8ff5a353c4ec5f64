// SPDX-License-Identifier: Apache-2.0
// Computes the SHA-256 of file contents, two at a time if that is faster (base/paired-sha256.hpp).
#pragma once

#include <array>
#include <cstdint>
#include <limits>

#include "base/cancellation.hpp"
#include "base/checksum.hpp"

namespace imaged {

// Returns the SHA-256 of SIZE bytes of FILE from OFFSET on, or of fewer bytes if the file ends before. Borrows FILE.
// Throws Error(cancelled), and Error(failed) if FILE cannot be read.
Checksum content_of(int file, const Cancellation& cancellation, std::uint64_t offset = 0,
                    std::uint64_t size = std::numeric_limits<std::uint64_t>::max());
// Returns the SHA-256 of the whole content of each of FILES.
std::array<Checksum, 2> contents_of(const std::array<int, 2>& files, const Cancellation& cancellation);

}  // namespace imaged
