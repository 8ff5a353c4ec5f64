// SPDX-License-Identifier: Apache-2.0
// The table of contents of a zstd:chunked layer: which bytes of the blob hold the content of which file. It is read as
// a stream, and not trusted: its user verifies what comes of it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/checksum.hpp"
#include "layer/byte-source.hpp"

namespace imaged {

// The most bytes of one value of the table, and of everything between two values.
inline constexpr std::size_t max_table_value_bytes = 1024 * 1024;
inline constexpr std::size_t max_table_files = 2'000'000;

// An entry that is no regular file with content, or is a link. An empty file, a whiteout too, has the kind "reg".
struct TableEntry {
    std::string name, kind;  // as the tar has them: "dir", "symlink", "hardlink", "reg", "char", …
    std::string target;      // of a link
};

// The chunks of a file that has more are not reported.
inline constexpr std::size_t max_file_chunks = 100'000;

// A part of a file's content with frames of its own; they end where those of the next begin, or the file's.
struct TableChunk {
    std::uint64_t size, offset;  // of the content; of the frames in the blob
    Checksum content;            // SHA-256 of it
};

// A regular file that is not empty. In several chunks or one: its frames are its content from beginning to end.
struct TableFile {
    std::string name;  // as the tar has it
    std::uint64_t size = 0;
    Checksum content;                   // SHA-256 of it
    std::uint64_t offset = 0, end = 0;  // of its frames in the blob; END is behind the last byte
    // The chunks in order, without gaps. Empty if there is only one, or if the table contradicts itself about them.
    std::vector<TableChunk> chunks = {};
};

// Reads a table, JSON, to its end and calls TAKE for each file and, if it is given, TAKE_OTHER for each other entry, in
// the order of the tar. Returns the digest of the tar-split's frame; nullopt if the table has none. Throws
// Error(corrupt_input), Error(unsupported_image) for another version and for limits, and what SOURCE and TAKE throw.
std::optional<Checksum> read_table(ByteSource& source, const std::function<void(TableFile&)>& take,
                                   const std::function<void(TableEntry&)>& take_other = {});

}  // namespace imaged
