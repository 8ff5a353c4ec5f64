// SPDX-License-Identifier: Apache-2.0
// Finds the files that differ between two trees. Reads only the directories that differ.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "base/checksum.hpp"
#include "store/repository/repository.hpp"

namespace imaged {

// Paths of a comparison; what is beyond is cut off and said so.
inline constexpr std::size_t max_diff_paths = 10'000;

struct FileChanges {
    std::vector<std::string> added, removed, changed;
    bool truncated = false;  // there are more
};

// Compares what is below the dirtrees FROM and TO, nullopt for none; the paths begin with PREFIX.
FileChanges compare_files(const Repository& repository, const std::string& prefix, const std::optional<Checksum>& from,
                          const std::optional<Checksum>& to);

}  // namespace imaged
