// SPDX-License-Identifier: Apache-2.0
#include "layer/tar-framing.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <utility>

namespace imaged {

namespace {

constexpr std::size_t block_bytes = 512;
// libarchive takes no longer pax header either.
constexpr std::uint64_t max_records_bytes = 1024 * 1024;
// Of extension headers that are held back; libarchive reads no more of one either.
constexpr std::size_t max_held_bytes = 4 * 1024 * 1024;
constexpr std::size_t name_bytes = 100, size_offset = 124, size_bytes = 12, checksum_offset = 148, checksum_bytes = 8;
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

// Links, directories and special files.
bool has_no_content(char type) {
    return type >= '1' && type <= '6';
}

// Of the header BLOCK, as its checksum has it.
unsigned sum_of(std::string block) {
    block.replace(checksum_offset, checksum_bytes, checksum_bytes, ' ');
    unsigned sum = 0;
    for (const char c : block) sum += static_cast<unsigned char>(c);
    return sum;
}

// NAME without slashes at its end: they lead it, where they mean nothing. libarchive takes a file whose name ends in
// one for a directory.
std::string slashes_first(std::string_view name) {
    const auto last = name.find_last_not_of('/');
    if (last == std::string_view::npos) return std::string(name);
    return std::string(name.substr(last + 1)).append(name.substr(0, last + 1));
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
    if (has_no_content(type)) return 0;
    return pax_size_.value_or(number_of(std::string_view(block_).substr(size_offset, size_bytes)));
}

// What libarchive is to read in place of the bytes that are FROM.
void TarFraming::edit(const Name& from, std::string_view to) {
    for (std::size_t i = 0; i < to.size(); ++i) {
        if (to[i] != from.text[i]) edits_.push_back({from.begin + i, to[i]});
    }
}

void TarFraming::edit_header(std::uint64_t begin, char type) {
    auto header = block_;
    if (has_no_content(type)) {
        for (const auto key : size_keys_) edits_.push_back({key, 'x'});
        // The others have none for libarchive either, if there is no record.
        if (type == '1' && number_of(header.substr(size_offset, size_bytes)) != 0)
            header.replace(size_offset, size_bytes, "00000000000\0", size_bytes);
    } else if (type == '0' || type == '7') {
        for (const auto& name : names_) edit(name, slashes_first(name.text));
        const auto name = std::string_view(block_).substr(0, name_bytes);
        const auto text = name.substr(0, name.find('\0'));
        header.replace(0, text.size(), slashes_first(text));
    }
    // A header that is damaged stays so.
    if (header == block_ || sum_of(block_) != number_of(block_.substr(checksum_offset, checksum_bytes))) return;
    std::array<char, checksum_bytes + 1> text{};
    std::snprintf(text.data(), text.size(), "%06o", sum_of(header));
    header.replace(checksum_offset, checksum_bytes - 1, text.data(), checksum_bytes - 1);
    edit({begin, block_}, header);
}

void TarFraming::take_header(std::uint64_t begin) {
    const char type = block_[156];
    if (!begin_) begin_ = begin;
    const bool has_records = type == 'x' || type == 'X' || type == 'g';
    if (has_records || type == 'L' || type == 'K' || type == 'V') {
        const auto size = number_of(std::string_view(block_).substr(size_offset, size_bytes));
        is_global_ = type == 'g';
        is_name_ = type == 'L';
        records_begin_ = offset_;
        records_size_ = size;
        skip_ = padded(size);
        collects_ = (has_records || is_name_) && size > 0 && size <= max_records_bytes;
        records_.clear();
        return;
    }
    const auto mode = static_cast<std::uint32_t>(number_of(std::string_view(block_).substr(100, 8))) & 07777;
    headers_.push_back({*begin_, mode, nul_in_name_, malformed_});
    edit_header(begin, type);
    in_sparse_map_ = type == 'S' && block_[482] != 0;
    const auto size = content_size(type);
    begin_.reset();
    nul_in_name_ = malformed_ = false;
    pax_size_.reset();
    size_keys_.clear();
    names_.clear();
    // The blocks of a sparse file's map come in between.
    if (in_sparse_map_)
        pax_size_ = size;
    else
        skip_ = padded(size);
}

void TarFraming::take_records() {
    collects_ = false;
    auto text = std::string_view(records_).substr(0, records_size_);
    if (is_name_) {
        names_.push_back({records_begin_, std::string(text.substr(0, text.find('\0')))});
        return;
    }
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
    } else if (names_a_path(key) && key != "linkpath") {
        names_.push_back({begin + equals + 1, std::string(value)});
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
