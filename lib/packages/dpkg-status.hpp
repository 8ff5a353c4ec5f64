// SPDX-License-Identifier: Apache-2.0
// Reads dpkg's database: stanzas of fields, as deb-status files have them. It is read as a stream; other fields are not
// kept.
#pragma once

#include <cstdint>

#include "packages/package.hpp"

namespace imaged {

// Debian's whole archive would have some 70 MiB.
inline constexpr std::uint64_t max_dpkg_status_bytes = 64ULL * 1024 * 1024;

// Adds the packages of a status file that are installed: all but those whose status is not-installed or config-files.
// WITHOUT_STATUS is for the files of status.d, whose packages are installed though they have no Status. What dpkg
// refuses because it could mean two things is refused: a field or a package that is there twice, an unknown status.
// Throws as package.hpp says, with the line.
void read_dpkg_status(const ReadBytes& read, bool without_status, PackageSet& into);

}  // namespace imaged
