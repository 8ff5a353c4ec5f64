// SPDX-License-Identifier: Apache-2.0
// Reads rpm's database, rpmdb.sqlite, with the SQLite library: read-only, through a file system that has no other file.
#pragma once

#include <cstdint>
#include <functional>

#include "packages/package.hpp"

namespace imaged {

// A file whose bytes may be read in any order. READ fills all of its second argument, which lies inside the file.
struct RandomFile {
    std::uint64_t size = 0;
    std::function<void(std::uint64_t offset, std::span<std::byte>)> read;
};

// A host with all packages of a distribution's desktop has less than a tenth.
inline constexpr std::uint64_t max_rpm_database_bytes = 1024ULL * 1024 * 1024;

// Adds every package of the database. CHECK is called now and then, and may throw. Throws as package.hpp says, and what
// FILE throws.
void read_rpm_database(const RandomFile& file, const std::function<void()>& check, PackageSet& into);

}  // namespace imaged
