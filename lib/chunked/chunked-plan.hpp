// SPDX-License-Identifier: Apache-2.0
// Decides which files of a zstd:chunked layer are stored already, and which ranges of its blob to fetch for the others.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/checksum.hpp"
#include "base/spill-array.hpp"
#include "chunked/table.hpp"
#include "layer/object.hpp"

namespace imaged {

struct BlobRange {
    std::uint64_t offset = 0, length = 0;
    std::uint64_t end() const { return offset + length; }
};

std::uint64_t bytes_of(const std::vector<BlobRange>& ranges);

// Asking for one range more costs as much as this many bytes that nobody needs, on any line.
inline constexpr std::uint64_t least_gap_bytes = 4096;
// On a quick line: a registry takes some milliseconds for a request. Gaps up to this are fetched too, the smallest
// first, while all of them together are one part of so many of what is wanted.
inline constexpr std::uint64_t most_gap_bytes = 64 * 1024, most_gaps_part = 16;
// For one layer: with more of them, larger gaps are fetched too.
inline constexpr std::size_t max_ranges = 1000;

class ChunkedPlan {
public:
    struct File {
        std::uint64_t size, offset, end;  // as TableFile
        Checksum object;                  // has the content, where it IS_HERE
        ObjectType type;
        bool is_here;
    };

    // The next file of the table. A content that is not here is fetched.
    void add(const File& file);
    std::size_t size() const { return files_.size(); }
    const File& operator[](std::size_t index) const { return files_[index]; }

    // What to fetch, in ascending order.
    std::vector<BlobRange> ranges() const;

private:
    SpillArray<File> files_{max_table_files};
};

}  // namespace imaged
