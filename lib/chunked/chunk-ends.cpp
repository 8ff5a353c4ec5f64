// SPDX-License-Identifier: Apache-2.0
#include "chunked/chunk-ends.hpp"

#include <utility>

namespace imaged {

namespace {

constexpr std::uint64_t cut_mask = (OwnChunkEnds::mean_bytes - 1) << 40;
constexpr auto gear = [] {
    std::array<std::uint64_t, 256> table{};
    std::uint64_t state = 0;
    for (auto& value : table) {  // splitmix64
        state += 0x9E3779B97F4A7C15;
        auto mixed = (state ^ state >> 30) * 0xBF58476D1CE4E5B9;
        mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB;
        value = mixed ^ mixed >> 31;
    }
    return table;
}();

}  // namespace

std::size_t OwnChunkEnds::rest(std::span<const std::byte> bytes, bool& ends) {
    ends = false;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        window_ = (window_ << 1) + gear[std::to_integer<std::size_t>(bytes[i])];
        ends = (++size_ >= least_bytes && (window_ & cut_mask) == 0) || size_ == most_bytes;
        if (!ends) continue;
        size_ = 0;
        return i + 1;
    }
    return bytes.size();
}

std::size_t RollsumChunkEnds::rest(std::span<const std::byte> bytes, bool& ends) {
    ends = false;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        const auto dropped = std::to_integer<std::uint32_t>(std::exchange(window_[position_], bytes[i]));
        position_ = (position_ + 1) % window_bytes;
        sum_ += std::to_integer<std::uint32_t>(bytes[i]) - dropped;
        sum_of_sums_ += sum_ - window_bytes * (dropped + offset);
        ends = (sum_of_sums_ & end_bits) == end_bits;
        if (ends) return i + 1;
    }
    return bytes.size();
}

}  // namespace imaged
