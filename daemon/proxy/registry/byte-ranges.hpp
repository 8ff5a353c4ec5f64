// SPDX-License-Identifier: Apache-2.0
// Reads an answer with several ranges of a blob: multipart/byteranges (RFC 9110, 14.6). Only one with all the ranges
// that were asked for, in their order, and nothing else.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/blob-range.hpp"
#include "base/error.hpp"

namespace imaged {

// The server does not do what is expected of several ranges; it may give each of them alone.
class NotSeveralRanges : public Error {
public:
    explicit NotSeveralRanges(const std::string& why) : Error(ErrorKind::source_unreachable, why) {}
};

// Whether CONTENT_TYPE says that there are several ranges, in whichever way.
bool has_several_ranges(std::string_view content_type);

class ByteRanges {
public:
    // RANGES of a blob of SIZE bytes, one at least. TAKE gets the bytes of all of them, in order. Throws
    // NotSeveralRanges for a CONTENT_TYPE without a boundary.
    ByteRanges(std::string_view content_type, std::vector<BlobRange> ranges, std::uint64_t size,
               std::function<void(std::span<const std::byte>)> take);

    // More of the answer's body. Throws NotSeveralRanges, and what TAKE throws.
    void read(std::span<const std::byte> bytes);

private:
    void read_line(std::string_view line);
    void read_field(std::string_view line);

    std::string delimiter_;  // "--" and the boundary
    const std::vector<BlobRange> ranges_;
    const std::uint64_t size_;
    const std::function<void(std::span<const std::byte>)> take_;
    enum class Place { delimiter, head, rest } place_ = Place::delimiter;
    std::size_t range_ = 0;       // the next
    std::uint64_t left_ = 0;      // of the content of the current one
    bool at_line_ = false;        // the end of a line has come since the last content
    bool has_range_ = false;      // the current head says which it is
    std::string line_;            // what is there of it
    std::size_t text_bytes_ = 0;  // since the last content
};

}  // namespace imaged
