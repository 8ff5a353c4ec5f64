// SPDX-License-Identifier: Apache-2.0
#include "layer/expansion-limit.hpp"

#include <algorithm>
#include <string>

#include "base/error.hpp"

namespace imaged {

namespace {

// Often enough that a disk does not fill up in between, seldom enough to cost nothing.
constexpr std::uint64_t space_check_bytes = 64ULL * 1024 * 1024;

std::string shown(std::uint64_t bytes) {
    return bytes >= 1ULL << 30 ? std::to_string(bytes >> 30) + " GiB" : std::to_string(bytes >> 10) + " KiB";
}

[[noreturn]] void over_limit(const std::string& what) {
    throw Error(ErrorKind::unsupported_image, what);
}

}  // namespace

void require_possible_size(std::uint64_t content, std::uint64_t stored, std::uint64_t limit) {
    if (content > limit) over_limit("more than the limit of " + shown(limit));
    constexpr auto free = free_expansion_bytes + max_hole_bytes;
    if (content > free && (content - free) / max_expansion_ratio > stored)
        over_limit(shown(content) + " of which only " + shown(stored) + " are stored, over the limit of " +
                   std::to_string(max_expansion_ratio) + " to one");
}

std::uint64_t stored_bytes(const struct stat& status) {
    constexpr std::uint64_t block = 512;  // of stat(2), whatever the file system's are
    return std::min(static_cast<std::uint64_t>(status.st_size), static_cast<std::uint64_t>(status.st_blocks) * block);
}

void ExpansionLimit::grow(std::uint64_t expanded) {
    const auto before = expanded_.fetch_add(expanded);
    const auto total = before + expanded;
    const auto image = image_bytes_.fetch_add(expanded) + expanded;
    if (total > limits_.layer_bytes)
        over_limit("more than the limit of " + shown(limits_.layer_bytes) + " in one layer");
    if (image > limits_.image_bytes)
        over_limit("more than the limit of " + shown(limits_.image_bytes) + " in one image");
    const auto compressed = compressed_.load();
    const auto room = total - std::min(total, holes_.load());
    if (room > limits_.free_bytes && (room - limits_.free_bytes) / limits_.ratio > compressed)
        over_limit(std::to_string(compressed) + " compressed bytes expand to more than " + shown(room) +
                   " that are not runs of zeros, over the limit of " + std::to_string(limits_.ratio) + " to one");
    if (check_space_ && before / space_check_bytes != total / space_check_bytes) check_space_();
}

void ExpansionLimit::leave_out(std::uint64_t count) {
    holes_ += count;
    check_hole(0);
}

void ExpansionLimit::check_hole(std::uint64_t count) const {
    if (count > limits_.hole_bytes || holes_.load() > limits_.hole_bytes - count)
        over_limit("more than the limit of " + shown(limits_.hole_bytes) + " of zeros in one layer");
}

}  // namespace imaged
