// SPDX-License-Identifier: Apache-2.0
// Watches the blocks of a tar stream on their way to libarchive, for what libarchive does not report: a name that a NUL
// ends early, malformed records of a pax header, the mode in the header if an ACL replaces it, and entries after a
// single block of zeros.
//
// If libarchive reads other bytes as content than Go's archive/tar, by which docker, skopeo and umoci read layers,
// it is given the stream with the size taken out: links, directories and special files have no content, whatever their
// headers say, a pax record without a value leaves what the header says, and a file whose name ends in a slash is no
// directory.
//
// If the two disagree on where a header begins, nothing is known of that header.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace imaged {

class TarFraming {
public:
    struct Header {
        std::uint64_t offset = 0;  // where the entry begins, with its extension headers
        std::uint32_t mode = 0;    // as the header has it
        bool nul_in_name = false;  // of the path or the link's target in a pax record
        bool malformed = false;    // a pax record before it
    };

    // PIECE is what follows in the stream; empty at its end. Returns what follows for libarchive, which may be empty
    // before the end: headers are held back until they are complete. Valid until the next call, and no longer than
    // PIECE.
    std::span<const std::byte> take(std::span<const std::byte> piece);
    // The entry that begins at OFFSET; nullopt if none is known to. Entries before it are forgotten.
    std::optional<Header> header_at(std::uint64_t offset);
    // Offset of a single block of zeros with more of the stream behind it; nullopt if there was none.
    std::optional<std::uint64_t> lone_zeros() const { return lone_zeros_; }

private:
    struct Edit {
        std::uint64_t offset;
        char byte;
    };
    void follow(std::span<const std::byte> piece);
    void take_block();
    void take_header(std::uint64_t begin);
    void take_records();
    void take_record(std::string_view record, std::uint64_t begin);
    std::uint64_t content_size(char type) const;
    void edit_header(std::uint64_t begin, char type);
    std::uint64_t complete_up_to() const { return begin_.value_or(offset_ - block_.size()); }

    std::uint64_t offset_ = 0;
    std::uint64_t skip_ = 0;  // bytes up to the next header
    std::string block_;       // of a header, as far as it has come
    std::deque<Header> headers_;
    std::optional<std::uint64_t> zeros_, lone_zeros_;
    bool ended_ = false;
    // Where the entry begins whose extension headers have come.
    std::optional<std::uint64_t> begin_;
    std::string records_;  // of a pax header, as far as they have come
    bool collects_ = false, in_sparse_map_ = false, nul_in_name_ = false;
    bool malformed_ = false, is_global_ = false, is_name_ = false;
    std::optional<std::uint64_t> pax_size_;
    std::uint64_t records_begin_ = 0, records_size_ = 0;
    std::vector<std::uint64_t> size_keys_;  // of the records
    struct Name {
        std::uint64_t begin;
        std::string text;
    };
    std::vector<Name> names_;  // in place of the header's
    void edit(const Name& from, std::string_view to);
    // Bytes that have come and were not handed on.
    std::vector<std::byte> held_, handed_on_;
    std::vector<Edit> edits_;
};

}  // namespace imaged
