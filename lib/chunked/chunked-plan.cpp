// SPDX-License-Identifier: Apache-2.0
#include "chunked/chunked-plan.hpp"

#include <optional>

namespace imaged {

namespace {

// With gaps of up to GAP bytes in them; nothing if they are too many.
std::optional<std::vector<BlobRange>> merged(const ChunkedPlan& plan, std::uint64_t gap) {
    std::vector<BlobRange> ranges;
    for (std::size_t i = 0; i < plan.size(); ++i) {
        const auto& file = plan[i];
        if (file.is_here) continue;
        if (!ranges.empty() && file.offset - ranges.back().end() <= gap) {
            ranges.back().length = file.end - ranges.back().offset;
            continue;
        }
        if (ranges.size() == max_ranges) return std::nullopt;
        ranges.push_back({file.offset, file.end - file.offset});
    }
    return ranges;
}

}  // namespace

std::uint64_t bytes_of(const std::vector<BlobRange>& ranges) {
    std::uint64_t bytes = 0;
    for (const auto& range : ranges) bytes += range.length;
    return bytes;
}

void ChunkedPlan::add(const File& file) {
    files_.push_back(file);
}

std::vector<BlobRange> ChunkedPlan::ranges() const {
    for (auto gap = least_gap_bytes;; gap *= 2) {
        if (auto ranges = merged(*this, gap)) return *std::move(ranges);
    }
}

}  // namespace imaged
