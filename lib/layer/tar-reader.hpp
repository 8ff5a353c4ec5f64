// SPDX-License-Identifier: Apache-2.0
// Reads a layer's tar stream entry by entry, through libarchive: ustar, PAX and GNU headers, long names, sparse files,
// extended attributes.
//
// The process must stay in the C locale that it starts with. In a UTF-8 locale libarchive composes the characters of
// PAX names (Unicode's form C), which makes other files of them; in the C locale it warns that it cannot, and leaves
// them be.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/tree-path.hpp"
#include "layer/byte-source.hpp"
#include "layer/expansion-limit.hpp"

namespace imaged {

// Entries of one layer, whatever becomes of them; bounds the time that a layer takes, as its size does not.
inline constexpr std::size_t max_layer_entries = 2'000'000;

enum class EntryType { file, directory, symlink, hardlink, special };

struct TarEntry {
    EntryType type = EntryType::file;
    Path path;
    bool utf8 = true;         // the path is valid UTF-8
    bool target_utf8 = true;  // and so is a symlink's target; libostree can keep neither if it is not
    std::uint32_t mode = 0;   // permission bits, setuid, setgid and sticky
    std::uint32_t uid = 0, gid = 0;
    std::uint64_t size = 0;                                   // bytes of content, holes included
    std::string target;                                       // of a symlink, as written
    Path link;                                                // the target of a hardlink
    std::vector<std::pair<std::string, std::string>> xattrs;  // name to value, sorted by name, each name once
    unsigned acls = 0;                                        // access control lists, which are not kept
};

class TarReader {
public:
    // SOURCE and LIMIT are borrowed. Bytes that are not in the stream count against LIMIT. Reads nothing yet.
    explicit TarReader(ByteSource& source, ExpansionLimit* limit = nullptr);
    ~TarReader();
    TarReader& operator=(TarReader&&) = delete;

    // The next entry; nothing at the archive's end. Throws Error(corrupt_input) naming the offset in the uncompressed
    // stream, Error(unsupported_image) for a limit, or what SOURCE threw.
    std::optional<TarEntry> next();
    // The next piece of the current entry's content, zeros for holes; empty at its end. Valid until the next call.
    std::span<const std::byte> content();
    // COUNT bytes of the content take no room where they are stored: they do not count against the limit of expansion.
    void leave_out(std::uint64_t count);
    // Offset of the current entry's content in the uncompressed stream; of a sparse file, of its first block. Call
    // before content().
    std::uint64_t content_offset() const;
    // The file whose content SOURCE knows to be that of the current entry; an empty descriptor if there is none. A
    // hint: not verified. Call before content().
    FileDescriptor content_file();
    // Bytes read of the uncompressed stream.
    std::uint64_t offset() const;

private:
    class Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace imaged
