// SPDX-License-Identifier: Apache-2.0
#include "chunked/tar-split.hpp"

#include "base/base64.hpp"
#include "base/error.hpp"
#include "base/json-nesting.hpp"
#include "base/json.hpp"

namespace imaged {

namespace {

using nlohmann::json;

constexpr std::size_t step_bytes = 64 * 1024;
constexpr std::uint64_t file_type = 1, segment_type = 2;
constexpr std::size_t max_line_depth = 2;

[[noreturn]] void refuse_split(const char* why) {
    throw Error(ErrorKind::corrupt_input, std::string("the tar-split: ") + why);
}

std::uint64_t number(const json& line, const char* key) {
    const auto found = line.find(key);
    if (found == line.end()) return 0;
    if (!found->is_number_unsigned()) refuse_split("a number that is none");
    return found->get<std::uint64_t>();
}

std::string payload(const json& line) {
    const auto found = line.find("payload");
    if (found == line.end() || !found->is_string()) refuse_split("a piece without bytes");
    const auto& text = found->get_ref<const std::string&>();
    if (text.empty()) return {};
    auto bytes = decode_base64(text);
    if (!bytes) refuse_split("bytes that are no base64");
    return *std::move(bytes);
}

TarSplit::Piece piece_of(std::string_view text) {
    if (nests_deeper_than(text, max_line_depth)) refuse_split("it nests too deep");
    const auto line = parse_json(text);
    if (!line.is_object()) refuse_split("a line that is no object");
    const auto type = number(line, "type");
    if (type == file_type) return {{}, number(line, "size")};
    if (type == segment_type) return {payload(line), 0};
    refuse_split("a piece of another kind");
}

}  // namespace

std::optional<TarSplit::Piece> TarSplit::next() {
    while (const auto line = next_line()) {
        if (line->empty()) continue;
        auto piece = piece_of(*line);
        if (!piece.bytes.empty() || piece.file_size > 0) return piece;
    }
    return std::nullopt;
}

std::optional<std::string_view> TarSplit::next_line() {
    for (auto searched = position_;;) {
        if (const auto end = buffer_.find('\n', searched); end != std::string::npos) {
            const auto line = std::string_view(buffer_).substr(position_, end - position_);
            position_ = end + 1;
            return line;
        }
        const auto rest = buffer_.size() - position_;
        if (rest > max_split_line_bytes)
            throw Error(ErrorKind::unsupported_image, "the tar-split has a line that is too long");
        if (!read_on()) {
            if (rest == 0) return std::nullopt;
            const auto line = std::string_view(buffer_).substr(position_);
            position_ = buffer_.size();
            return line;
        }
        searched = rest;
    }
}

// Leaves what is not consumed at the beginning of the buffer. Returns whether there is more now.
bool TarSplit::read_on() {
    if (ended_) return false;
    buffer_.erase(0, position_);
    position_ = 0;
    const auto before = buffer_.size();
    buffer_.resize(before + step_bytes);
    const auto count = text_.read(std::as_writable_bytes(std::span(buffer_)).subspan(before));
    buffer_.resize(before + count);
    ended_ = count < step_bytes;
    return count > 0;
}

}  // namespace imaged
