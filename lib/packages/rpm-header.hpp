// SPDX-License-Identifier: Apache-2.0
// Reads the header of a package in the RPM database: an index of tags, and their values.
#pragma once

#include <cstddef>
#include <span>

#include "packages/package.hpp"

namespace imaged {

// The largest packages have some 100,000 files.
inline constexpr std::size_t max_rpm_header_bytes = std::size_t{32} * 1024 * 1024;

// The package that HEADER describes: no magic in front, as in the database. Throws Error(corrupt_input).
Package parse_rpm_header(std::span<const std::byte> header);

}  // namespace imaged
