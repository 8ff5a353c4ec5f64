// SPDX-License-Identifier: Apache-2.0
// Decides which files, and which parts of them, of a zstd:chunked layer are stored already, and which ranges of its
// blob to fetch for the others.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/blob-range.hpp"
#include "base/checksum.hpp"
#include "base/spill-array.hpp"
#include "chunked/table.hpp"
#include "layer/object.hpp"

namespace imaged {

// Rules for the gaps between ranges: small gaps are fetched too, the smallest first.
struct RangeRules {
    // Gaps up to this in any case: asking for one range more costs as much as so many bytes that nobody needs.
    std::uint64_t least_gap_bytes;
    // Gaps up to this, while all of them together are one part of so many of what is wanted.
    std::uint64_t most_gap_bytes;
    static constexpr std::uint64_t most_gaps_part = 16;
    // Any gaps while there are more ranges than this.
    std::size_t max_ranges;
};
// The rules if each range is a request, which takes a registry some milliseconds, and if a request has many: one more
// is about 200 bytes on the network, and the registry reads at another place.
inline constexpr RangeRules one_by_one{4096, 64 * 1024, 1000}, many_at_a_time{1024, 1024, 20'000};

// Largest number of entries in a plan beyond one for each file: parts of files.
inline constexpr std::size_t max_plan_parts = max_table_files;

class ChunkedPlan {
public:
    // Or a part of one.
    struct File {
        std::uint64_t size = 0, offset = 0, end = 0;  // as TableFile
        Checksum object = {};                         // has the content, where it IS_HERE
        ObjectType type = ObjectType::file;
        bool is_here = false;
        bool ends = true;        // the file of the table; otherwise the next is another part of it
        std::uint64_t from = 0;  // where the content begins in the object
    };

    // The next file of the table, or part of it. A content that is not here is fetched.
    void add(const File& file);
    std::size_t size() const { return files_.size(); }
    const File& operator[](std::size_t index) const { return files_[index]; }

    // The ranges to fetch, in ascending order.
    std::vector<BlobRange> ranges(const RangeRules& rules) const;

private:
    // The largest gap in a range.
    std::uint64_t gap_of(const RangeRules& rules) const;

    SpillArray<File> files_{max_table_files + max_plan_parts};
};

}  // namespace imaged
