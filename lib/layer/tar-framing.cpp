// SPDX-License-Identifier: Apache-2.0
#include "layer/tar-framing.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>
#include <utility>

namespace imaged {

namespace {

constexpr std::size_t block_bytes = 512;
// libarchive takes no longer pax header either.
constexpr std::uint64_t max_records_bytes = 1024 * 1024;
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

void TarFraming::take(std::span<const std::byte> piece) {
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
    // Links and special files have none, whatever the field says; a hard link may have some in a pax archive.
    if ((type >= '2' && type <= '6') || (type == '1' && !is_pax_)) return 0;
    return pax_size_.value_or(number_of(std::string_view(block_).substr(124, 12)));
}

void TarFraming::take_header(std::uint64_t begin) {
    const char type = block_[156];
    if (!begin_) begin_ = begin;
    if (type == 'x' || type == 'X' || type == 'g') {
        const auto size = number_of(std::string_view(block_).substr(124, 12));
        is_pax_ = true;
        skip_ = padded(size);
        collects_ = size > 0 && size <= max_records_bytes;
        records_.clear();
        return;
    }
    if (type == 'L' || type == 'K' || type == 'V') {
        skip_ = padded(number_of(std::string_view(block_).substr(124, 12)));
        return;
    }
    const auto mode = static_cast<std::uint32_t>(number_of(std::string_view(block_).substr(100, 8))) & 07777;
    headers_.push_back({*begin_, mode, nul_in_name_});
    in_sparse_map_ = type == 'S' && block_[482] != 0;
    const auto size = content_size(type);
    begin_.reset();
    nul_in_name_ = false;
    pax_size_.reset();
    // The blocks of a sparse file's map come in between.
    if (in_sparse_map_)
        pax_size_ = size;
    else
        skip_ = padded(size);
}

void TarFraming::take_records() {
    collects_ = false;
    std::string_view text = records_;
    while (!text.empty()) {
        std::size_t length = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), length);
        const auto digits = static_cast<std::size_t>(end - text.data());
        if (error != std::errc() || length > text.size() || length < digits + 3) return;
        const auto record = text.substr(digits + 1, length - digits - 2);
        const auto equals = std::min(record.find('='), record.size() - 1);
        const auto key = record.substr(0, equals), value = record.substr(equals + 1);
        if (names_a_path(key) && value.find('\0') != std::string_view::npos) nul_in_name_ = true;
        std::uint64_t size = 0;
        if (key == "size" && std::from_chars(value.data(), value.data() + value.size(), size).ec == std::errc())
            pax_size_ = size;
        text.remove_prefix(length);
    }
}

std::optional<TarFraming::Header> TarFraming::header_at(std::uint64_t offset) {
    while (!headers_.empty() && headers_.front().offset < offset) headers_.pop_front();
    if (headers_.empty() || headers_.front().offset != offset) return std::nullopt;
    return headers_.front();
}

}  // namespace imaged
