// SPDX-License-Identifier: Apache-2.0
#include "bus/message-start.hpp"

#include <string_view>

namespace imaged {

namespace {

// Codes of header fields (D-Bus specification, "Header Fields").
constexpr unsigned sender_code = 7, descriptors_code = 9;
constexpr std::size_t body_length_at = 4, fields_length_at = 12;

std::size_t aligned(std::size_t position, std::size_t to) {
    return (position + to - 1) / to * to;
}

// In the byte order that the first byte of BYTES names.
std::uint32_t number_at(std::span<const std::byte> bytes, std::size_t position) {
    const bool big = bytes[0] == std::byte{'B'};
    std::uint32_t number = 0;
    for (std::size_t i = 0; i < 4; ++i)
        number = number << 8 | std::to_integer<std::uint32_t>(bytes[position + (big ? i : 3 - i)]);
    return number;
}

// Takes values one after the other; ok is false from the first on that lies beyond the end.
class HeaderReader {
public:
    HeaderReader(std::span<const std::byte> bytes, std::size_t end) : bytes_(bytes), end_(end) {}

    bool more() const { return ok && position_ < end_; }
    void align(std::size_t to) { position_ = aligned(position_, to); }
    unsigned byte() { return has(1) ? std::to_integer<unsigned>(bytes_[position_++]) : 0; }
    std::uint32_t number() {
        align(4);
        if (!has(4)) return 0;
        position_ += 4;
        return number_at(bytes_, position_ - 4);
    }
    // With its final zero byte.
    std::string_view text(std::size_t length) {
        if (!has(length + 1)) return {};
        position_ += length + 1;
        return {reinterpret_cast<const char*>(&bytes_[position_ - length - 1]), length};
    }

    bool ok = true;

private:
    bool has(std::size_t count) { return ok = ok && position_ <= end_ && count <= end_ - position_; }

    std::span<const std::byte> bytes_;
    std::size_t end_, position_ = message_prefix_bytes;
};

}  // namespace

std::size_t message_length(std::span<const std::byte, message_prefix_bytes> prefix) {
    return aligned(message_prefix_bytes + number_at(prefix, fields_length_at), 8) + number_at(prefix, body_length_at);
}

std::optional<MessageStart> parse_message_start(std::span<const std::byte> bytes) {
    if (bytes.size() < message_prefix_bytes) return std::nullopt;
    const std::size_t end = message_prefix_bytes + number_at(bytes, fields_length_at);
    if (end > bytes.size()) return std::nullopt;
    HeaderReader reader(bytes, end);
    MessageStart start;
    for (; reader.more(); reader.align(8)) {
        const auto code = reader.byte();
        const auto type = reader.text(reader.byte());
        if (type == "u") {
            const auto number = reader.number();
            if (code == descriptors_code) start.descriptors = number;
        } else if (type == "s" || type == "o") {
            const auto text = reader.text(reader.number());
            if (code == sender_code) start.sender = text;
        } else if (type == "g") {
            reader.text(reader.byte());
        } else {
            return std::nullopt;
        }
    }
    return reader.ok ? std::optional(start) : std::nullopt;
}

}  // namespace imaged
