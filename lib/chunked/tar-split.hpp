// SPDX-License-Identifier: Apache-2.0
// Reads tar-split (github.com/vbatts/tar-split): a line of JSON for each piece of a tar, so that it can be reassembled
// byte for byte. It is read as a stream.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "layer/byte-source.hpp"

namespace imaged {

// A line of it: a header in base64, with as much of extensions as a layer's tar may have.
inline constexpr std::size_t max_split_line_bytes = 2 * 1024 * 1024;

class TarSplit {
public:
    // TEXT is borrowed.
    explicit TarSplit(ByteSource& text) : text_(text) {}

    struct Piece {
        std::string bytes;            // of the tar, or
        std::uint64_t file_size = 0;  // so many bytes of the next file that is not empty
    };
    // The next piece, which is not empty; nothing at the end. Throws Error(corrupt_input), Error(unsupported_image) for
    // a limit.
    std::optional<Piece> next();

private:
    std::optional<std::string_view> next_line();
    bool read_on();

    ByteSource& text_;
    std::string buffer_;
    std::size_t position_ = 0;
    bool ended_ = false;
};

}  // namespace imaged
