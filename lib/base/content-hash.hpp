// SPDX-License-Identifier: Apache-2.0
// Computes the SHA-256 of file contents, two at a time if that is faster (base/paired-sha256.hpp).
#pragma once

#include <array>
#include <cstdint>
#include <limits>

#include "base/cancellation.hpp"
#include "base/checksum.hpp"

namespace imaged {

// Of SIZE bytes of FILE, which is borrowed, at OFFSET; of fewer if there are no more. Throws Error(cancelled), and
// Error(failed) if it cannot be read.
Checksum content_of(int file, const Cancellation& cancellation, std::uint64_t offset = 0,
                    std::uint64_t size = std::numeric_limits<std::uint64_t>::max());
// Of all of each.
std::array<Checksum, 2> contents_of(const std::array<int, 2>& files, const Cancellation& cancellation);

}  // namespace imaged
