// SPDX-License-Identifier: Apache-2.0
#include "registry/byte-ranges.hpp"

#include <algorithm>
#include <utility>

#include "registry/challenge.hpp"

namespace imaged {

namespace {

constexpr std::string_view several = "multipart/byteranges";
constexpr std::string_view boundary_key = "boundary=";
constexpr std::size_t max_boundary_bytes = 70;  // RFC 2046, 5.1.1
// Between two contents, and behind the last.
constexpr std::size_t max_text_bytes = 2048;
constexpr std::string_view line_end = "\r\n", spaces = " \t";

[[noreturn]] void refuse_ranges(const std::string& why) {
    throw NotSeveralRanges("the registry answers several ranges with " + why);
}

std::string boundary_of(std::string_view type) {
    auto rest = type.substr(std::min(type.find(';'), type.size()));
    for (;;) {
        rest.remove_prefix(std::min(rest.find_first_not_of("; \t"), rest.size()));
        if (rest.empty()) refuse_ranges("no boundary");
        if (in_small_letters(rest.substr(0, boundary_key.size())) == boundary_key) break;
        rest.remove_prefix(std::min(rest.find(';'), rest.size()));
    }
    rest.remove_prefix(boundary_key.size());
    const bool quoted = rest.starts_with('"');
    if (quoted) rest.remove_prefix(1);
    const auto end = rest.find_first_of(quoted ? "\"" : "; \t");
    if (quoted && end == std::string_view::npos) refuse_ranges("no boundary");
    const auto boundary = rest.substr(0, end);
    if (boundary.empty() || boundary.size() > max_boundary_bytes || boundary.find_first_of("\r\n\\") != boundary.npos)
        refuse_ranges("no boundary");
    return std::string(boundary);
}

}  // namespace

bool has_several_ranges(std::string_view content_type) {
    return in_small_letters(content_type.substr(0, several.size())) == several;
}

ByteRanges::ByteRanges(std::string_view content_type, std::vector<BlobRange> ranges, std::uint64_t size,
                       std::function<void(std::span<const std::byte>)> take)
    : delimiter_("--" + boundary_of(content_type)), ranges_(std::move(ranges)), size_(size), take_(std::move(take)) {}

void ByteRanges::read(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
        if (left_ > 0) {
            const auto content = bytes.first(static_cast<std::size_t>(std::min<std::uint64_t>(left_, bytes.size())));
            take_(content);
            left_ -= content.size();
            bytes = bytes.subspan(content.size());
            continue;
        }
        if (++text_bytes_ > max_text_bytes) refuse_ranges("too much between them");
        line_.push_back(static_cast<char>(bytes.front()));
        bytes = bytes.subspan(1);
        if (place_ == Place::rest || !line_.ends_with(line_end)) continue;
        line_.resize(line_.size() - line_end.size());
        read_line(std::exchange(line_, {}));
    }
}

void ByteRanges::read_line(std::string_view line) {
    if (place_ == Place::delimiter) {
        // Of the first some servers have no end of a line before it.
        if (line.empty() && !at_line_) {
            at_line_ = true;
            return;
        }
        // The last delimiter has more behind it; it is not waited for.
        if (line != delimiter_ || (range_ > 0 && !at_line_)) refuse_ranges("other delimiters");
        place_ = Place::head;
        has_range_ = false;
        return;
    }
    if (!line.empty()) return read_field(line);
    if (!has_range_) refuse_ranges("a part that does not say which it is");
    left_ = ranges_[range_].length;
    text_bytes_ = 0;
    at_line_ = false;
    place_ = ++range_ == ranges_.size() ? Place::rest : Place::delimiter;
}

void ByteRanges::read_field(std::string_view line) {
    const auto colon = line.find(':');
    if (colon == std::string_view::npos) refuse_ranges("a part with no header");
    if (in_small_letters(line.substr(0, colon)) != "content-range") return;
    auto value = line.substr(colon + 1);
    value.remove_prefix(std::min(value.find_first_not_of(spaces), value.size()));
    const auto found = parse_content_range(value);
    const auto& wanted = ranges_[range_];
    if (has_range_ || !found || found->first != wanted.offset || found->last != wanted.end() - 1 ||
        (found->size && *found->size != size_))
        refuse_ranges("another range");
    has_range_ = true;
}

}  // namespace imaged
