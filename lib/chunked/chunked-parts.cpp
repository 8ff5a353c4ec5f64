// SPDX-License-Identifier: Apache-2.0
#include "chunked/chunked-parts.hpp"

#include <charconv>
#include <string_view>
#include <vector>

#include "base/error.hpp"

namespace imaged {

namespace {

constexpr std::uint64_t table_in_crfs_format = 1;

// Parses numbers with a colon between; returns nullopt for any other text.
std::optional<std::vector<std::uint64_t>> numbers(std::string_view text) {
    std::vector<std::uint64_t> found;
    const auto* const end = text.data() + text.size();
    for (const auto* at = text.data();;) {
        const auto [next, error] = std::from_chars(at, end, found.emplace_back());
        if (error != std::errc()) return std::nullopt;
        if (next == end) return found;
        if (*next != ':') return std::nullopt;
        at = next + 1;
    }
}

std::optional<PackedPart> part(const Descriptor& layer, const char* key, std::size_t count) {
    const auto found = layer.chunked.find(key);
    if (found == layer.chunked.end()) return std::nullopt;
    const auto values = numbers(found->second);
    if (!values || values->size() != count || (count > 3 && values->at(3) != table_in_crfs_format)) return std::nullopt;
    const PackedPart part{values->at(0), values->at(1), values->at(2)};
    if (part.bytes == 0 || part.bytes > max_packed_part_bytes || part.unpacked > max_part_bytes ||
        part.offset > layer.size || part.bytes > layer.size - part.offset)
        return std::nullopt;
    return part;
}

}  // namespace

std::optional<ChunkedParts> chunked_parts(const Descriptor& layer) {
    const auto checksum = layer.chunked.find("manifest-checksum");
    const auto table = part(layer, "manifest-position", 4), split = part(layer, "tarsplit-position", 3);
    if (checksum == layer.chunked.end() || !table || !split) return std::nullopt;
    try {
        return ChunkedParts{Digest::parse(checksum->second), *table, *split};
    } catch (const Error&) {
        return std::nullopt;
    }
}

}  // namespace imaged
