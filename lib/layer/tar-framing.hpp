// SPDX-License-Identifier: Apache-2.0
// Follows the blocks of a tar stream beside libarchive, for what libarchive does not report: a name that a NUL ends
// early, the mode in the header where an ACL replaced it, and entries behind a single block of zeros.
//
// Where the two disagree on where a header begins, nothing is known of that header.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>

namespace imaged {

class TarFraming {
public:
    struct Header {
        std::uint64_t offset = 0;  // where the entry begins, with its extension headers
        std::uint32_t mode = 0;    // as the header has it
        bool nul_in_name = false;  // of the path or the link's target in a pax record
    };

    // PIECE is what follows in the stream.
    void take(std::span<const std::byte> piece);
    // The entry that begins at OFFSET; nullopt if none is known to. Entries before it are forgotten.
    std::optional<Header> header_at(std::uint64_t offset);
    // Whether the stream goes on with something else behind one block of zeros at OFFSET.
    bool continues_behind(std::uint64_t offset) const { return lone_zeros_ == offset; }

private:
    void take_block();
    void take_header(std::uint64_t begin);
    void take_records();
    std::uint64_t content_size(char type) const;

    std::uint64_t offset_ = 0;
    std::uint64_t skip_ = 0;  // bytes up to the next header
    std::string block_;       // of a header, as far as it has come
    std::deque<Header> headers_;
    std::optional<std::uint64_t> zeros_, lone_zeros_;
    bool ended_ = false;
    // Of the entry whose extension headers have come.
    std::optional<std::uint64_t> begin_;
    std::string records_;  // of a pax header, as far as they have come
    bool collects_ = false, in_sparse_map_ = false, nul_in_name_ = false;
    std::optional<std::uint64_t> pax_size_;
    bool is_pax_ = false;  // an earlier header made the archive one
};

}  // namespace imaged
