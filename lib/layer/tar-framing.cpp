// SPDX-License-Identifier: Apache-2.0
#include "layer/tar-framing.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <string_view>
#include <utility>

namespace imaged {

namespace {

constexpr std::size_t block_bytes = 512;
// libarchive takes no longer pax header either.
constexpr std::uint64_t max_records_bytes = 1024 * 1024;
// Of extension headers that are held back; libarchive reads no more of one either.
constexpr std::size_t max_held_bytes = 4 * 1024 * 1024;
constexpr std::size_t size_offset = 124, size_bytes = 12, checksum_offset = 148, checksum_bytes = 8;
// Larger sizes are refused by libarchive.
constexpr std::uint64_t max_content_bytes = std::uint64_t{1} << 62;

// A number in octal digits, or in base 256 as GNU writes it.
std::uint64_t number_of(std::string_view field) {
    std::uint64_t value = 0;
    if ((static_cast<unsigned char>(field[0]) & 0x80) != 0) {
        for (const char c : field.substr(1)) value = value << 8 | static_cast<unsigned char>(c);
        return value;
    }
    for (const char c : field) {
        if (c == ' ' && value == 0) continue;
        if (c < '0' || c > '7') break;
        value = value << 3 | static_cast<unsigned>(c - '0');
    }
    return value;
}

std::uint64_t padded(std::uint64_t size) {
    if (size > max_content_bytes) return max_content_bytes;
    return (size + block_bytes - 1) / block_bytes * block_bytes;
}

bool names_a_path(std::string_view key) {
    constexpr std::array<std::string_view, 3> keys{"path", "linkpath", "GNU.sparse.name"};
    return std::find(keys.begin(), keys.end(), key) != keys.end();
}

}  // namespace

std::span<const std::byte> TarFraming::take(std::span<const std::byte> piece) {
    const auto begin = offset_ - held_.size();
    follow(piece);
    const auto available = held_.size() + piece.size();
    const auto complete = ended_ || piece.empty() ? available : std::max(complete_up_to(), begin) - begin;
    const auto count = available - complete > max_held_bytes ? available : static_cast<std::size_t>(complete);
    if (held_.empty() && edits_.empty()) {
        held_.assign(piece.begin() + static_cast<std::ptrdiff_t>(count), piece.end());
        return piece.first(count);
    }
    handed_on_ = std::move(held_);
    handed_on_.insert(handed_on_.end(), piece.begin(), piece.end());
    for (const auto& edit : edits_) {
        if (edit.offset >= begin) handed_on_[edit.offset - begin] = static_cast<std::byte>(edit.byte);
    }
    edits_.clear();
    held_.assign(handed_on_.begin() + static_cast<std::ptrdiff_t>(count), handed_on_.end());
    return std::span(handed_on_).first(count);
}

std::uint64_t TarFraming::complete_up_to() const {
    return begin_.value_or(offset_ - block_.size());
}

void TarFraming::follow(std::span<const std::byte> piece) {
    while (!piece.empty() && !ended_) {
        const auto wanted = skip_ > 0 ? skip_ : block_bytes - block_.size();
        const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(wanted, piece.size()));
        const std::string_view bytes(reinterpret_cast<const char*>(piece.data()), count);
        piece = piece.subspan(count);
        offset_ += count;
        if (skip_ > 0) {
            skip_ -= count;
            if (collects_) records_ += bytes;
            if (skip_ == 0 && collects_) take_records();
            continue;
        }
        block_ += bytes;
        if (block_.size() < block_bytes) continue;
        take_block();
        block_.clear();
    }
}

void TarFraming::take_block() {
    const auto begin = offset_ - block_bytes;
    if (in_sparse_map_) {
        in_sparse_map_ = block_[504] != 0;
        if (!in_sparse_map_) skip_ = padded(*std::exchange(pax_size_, std::nullopt));
        return;
    }
    if (block_.find_first_not_of('\0') == std::string::npos) {
        ended_ = zeros_.has_value();
        zeros_ = begin;
    } else if (zeros_) {
        lone_zeros_ = zeros_;
        ended_ = true;
    } else {
        take_header(begin);
    }
}

std::uint64_t TarFraming::content_size(char type) const {
    if (type >= '1' && type <= '6') return 0;
    return pax_size_.value_or(number_of(std::string_view(block_).substr(size_offset, size_bytes)));
}

// Of an entry that has no content.
void TarFraming::take_size_out(std::uint64_t begin, char type) {
    for (const auto key : size_keys_) edits_.push_back({key, 'x'});
    // The others have none for libarchive either, if there is no record.
    const auto field = std::string_view(block_).substr(size_offset, size_bytes);
    if (type != '1' || number_of(field) == 0) return;
    auto header = block_;
    header.replace(size_offset, size_bytes, "00000000000\0", size_bytes);
    header.replace(checksum_offset, checksum_bytes, checksum_bytes, ' ');
    unsigned sum = 0;
    for (const char c : header) sum += static_cast<unsigned char>(c);
    std::array<char, checksum_bytes + 1> text{};
    std::snprintf(text.data(), text.size(), "%06o", sum);
    header.replace(checksum_offset, checksum_bytes - 1, text.data(), checksum_bytes - 1);
    for (std::size_t i = size_offset; i < checksum_offset + checksum_bytes; ++i)
        edits_.push_back({begin + i, header[i]});
}

void TarFraming::take_header(std::uint64_t begin) {
    const char type = block_[156];
    if (!begin_) begin_ = begin;
    if (type == 'x' || type == 'X' || type == 'g') {
        const auto size = number_of(std::string_view(block_).substr(size_offset, size_bytes));
        is_global_ = type == 'g';
        records_begin_ = offset_;
        records_size_ = size;
        skip_ = padded(size);
        collects_ = size > 0 && size <= max_records_bytes;
        records_.clear();
        return;
    }
    if (type == 'L' || type == 'K' || type == 'V') {
        skip_ = padded(number_of(std::string_view(block_).substr(size_offset, size_bytes)));
        return;
    }
    const auto mode = static_cast<std::uint32_t>(number_of(std::string_view(block_).substr(100, 8))) & 07777;
    headers_.push_back({*begin_, mode, nul_in_name_, malformed_});
    if (type >= '1' && type <= '6') take_size_out(begin, type);
    in_sparse_map_ = type == 'S' && block_[482] != 0;
    const auto size = content_size(type);
    begin_.reset();
    nul_in_name_ = malformed_ = false;
    pax_size_.reset();
    size_keys_.clear();
    // The blocks of a sparse file's map come in between.
    if (in_sparse_map_)
        pax_size_ = size;
    else
        skip_ = padded(size);
}

void TarFraming::take_records() {
    collects_ = false;
    auto text = std::string_view(records_).substr(0, records_size_);
    auto begin = records_begin_;
    while (!text.empty()) {
        std::size_t length = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), length);
        const auto digits = static_cast<std::size_t>(end - text.data());
        if (error != std::errc() || length > text.size() || length < digits + 3 || text[digits] != ' ' ||
            text[length - 1] != '\n') {
            malformed_ = true;
            return;
        }
        take_record(text.substr(digits + 1, length - digits - 2), begin + digits + 1);
        text.remove_prefix(length);
        begin += length;
    }
}

void TarFraming::take_record(std::string_view record, std::uint64_t begin) {
    const auto equals = record.find('=');
    if (equals == 0 || equals == std::string_view::npos) {
        malformed_ = true;
        return;
    }
    const auto key = record.substr(0, equals), value = record.substr(equals + 1);
    const bool is_number = key == "size" || key == "uid" || key == "gid";
    std::int64_t number = 0;
    if (is_number && !value.empty()) {
        const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
        // Owners that are too large are refused by their names.
        const bool digits = error != std::errc::invalid_argument && end == value.data() + value.size();
        malformed_ = malformed_ || !digits || (key == "size" && (error != std::errc() || number < 0));
    }
    if (is_global_) return;  // about no entry, for libarchive and for Go
    if (names_a_path(key) && value.find('\0') != std::string_view::npos) nul_in_name_ = true;
    if (value.empty() && (is_number || names_a_path(key))) {
        edits_.push_back({begin, 'x'});
    } else if (key == "size") {
        pax_size_ = static_cast<std::uint64_t>(number);
        size_keys_.push_back(begin);
    }
}

std::optional<TarFraming::Header> TarFraming::header_at(std::uint64_t offset) {
    while (!headers_.empty() && headers_.front().offset < offset) headers_.pop_front();
    if (headers_.empty() || headers_.front().offset != offset) return std::nullopt;
    return headers_.front();
}

}  // namespace imaged
