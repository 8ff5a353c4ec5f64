// SPDX-License-Identifier: Apache-2.0
// SHA-256 of what files hold, of two at a time where that is faster (base/paired-sha256.hpp).
#pragma once

#include <array>

#include "base/cancellation.hpp"
#include "base/checksum.hpp"

namespace imaged {

// Of FILE, which is borrowed, from its beginning. Throws Error(cancelled), and Error(failed) if it cannot be read.
Checksum content_of(int file, const Cancellation& cancellation);
// As content_of(), of each.
std::array<Checksum, 2> contents_of(const std::array<int, 2>& files, const Cancellation& cancellation);

}  // namespace imaged
