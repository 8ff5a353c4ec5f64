// SPDX-License-Identifier: Apache-2.0
#include "chunked/chunked-plan.hpp"

#include <array>
#include <bit>

namespace imaged {

namespace {

// Gaps by their size, each of at least 16 bytes: eight classes for each power of two.
constexpr unsigned class_bits = 3;
constexpr std::size_t gap_classes = std::size_t{65} << class_bits;

std::size_t class_of(std::uint64_t gap) {
    const auto top = static_cast<unsigned>(std::bit_width(gap - 1));
    return (std::size_t{top} << class_bits) + ((gap - 1) >> (top - 1 - class_bits) & ((1U << class_bits) - 1));
}

// The largest gap of a class.
std::uint64_t largest_of(std::size_t gap_class) {
    const auto top = gap_class >> class_bits, part = gap_class & ((1U << class_bits) - 1);
    const auto next = ((std::uint64_t{1} << class_bits) + part + 1) << (top - 1 - class_bits);
    return next == 0 ? UINT64_MAX : next;
}

}  // namespace

void ChunkedPlan::add(const File& file) {
    files_.push_back(file);
}

std::uint64_t ChunkedPlan::gap_of(const RangeRules& rules) const {
    struct Gaps {
        std::size_t count = 0;
        std::uint64_t bytes = 0;
    };
    std::array<Gaps, gap_classes> gaps{};
    std::uint64_t wanted = 0, end = 0;
    std::size_t ranges = 1;
    for (std::size_t i = 0; i < files_.size(); ++i) {
        const auto& file = files_[i];
        if (file.is_here) continue;
        if (const auto gap = file.offset - end; wanted > 0 && gap > rules.least_gap_bytes) {
            auto& like = gaps[class_of(gap)];
            ++like.count;
            like.bytes += gap;
            ++ranges;
        }
        wanted += file.end - file.offset;
        end = file.end;
    }
    auto gap = rules.least_gap_bytes;
    std::uint64_t bytes = 0;
    for (auto i = class_of(rules.least_gap_bytes + 1); i < gaps.size(); ++i) {
        bytes += gaps[i].bytes;
        const bool pays = largest_of(i) <= rules.most_gap_bytes && bytes <= wanted / RangeRules::most_gaps_part;
        if (!pays && ranges <= rules.max_ranges) break;
        if (gaps[i].count > 0) gap = largest_of(i);
        ranges -= gaps[i].count;
    }
    return gap;
}

std::vector<BlobRange> ChunkedPlan::ranges(const RangeRules& rules) const {
    const auto gap = gap_of(rules);
    std::vector<BlobRange> ranges;
    for (std::size_t i = 0; i < files_.size(); ++i) {
        const auto& file = files_[i];
        if (file.is_here) continue;
        if (!ranges.empty() && file.offset - ranges.back().end() <= gap)
            ranges.back().length = file.end - ranges.back().offset;
        else
            ranges.push_back({file.offset, file.end - file.offset});
    }
    return ranges;
}

}  // namespace imaged
