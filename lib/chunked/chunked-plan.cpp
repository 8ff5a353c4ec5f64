// SPDX-License-Identifier: Apache-2.0
#include "chunked/chunked-plan.hpp"

#include <algorithm>
#include <array>
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

// The largest gap that pays.
std::uint64_t gap_of(const ChunkedPlan& plan) {
    constexpr std::uint64_t step = 1024;
    std::array<std::uint64_t, most_gap_bytes / step> gaps{};  // their bytes, by size
    std::uint64_t wanted = 0, end = 0;
    for (std::size_t i = 0; i < plan.size(); ++i) {
        const auto& file = plan[i];
        if (file.is_here) continue;
        const auto gap = file.offset - end;
        if (wanted > 0 && gap > 0 && gap <= most_gap_bytes) gaps[(gap - 1) / step] += gap;
        wanted += file.end - file.offset;
        end = file.end;
    }
    std::uint64_t gap = 0, bytes = 0;
    for (const auto count : gaps) {
        bytes += count;
        if (bytes > wanted / most_gaps_part) break;
        gap += step;
    }
    return std::max(gap, least_gap_bytes);
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
    for (auto gap = gap_of(*this);; gap *= 2) {
        if (auto ranges = merged(*this, gap)) return *std::move(ranges);
    }
}

}  // namespace imaged
