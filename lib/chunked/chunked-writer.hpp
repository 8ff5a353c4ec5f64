// SPDX-License-Identifier: Apache-2.0
// Writes the tar of a layer as zstd:chunked. The content of each regular file is a zstd frame of its own, that of a
// large one a frame for each chunk; chunks end where the content says, so that most are those of its next version.
// Behind the tar there are a table of contents, a tar-split and a footer in frames that ordinary readers skip. The same
// tar gives the same bytes in one build.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/checksum.hpp"
#include "chunked/chunk-ends.hpp"
#include "chunked/table.hpp"
#include "layer/byte-sink.hpp"
#include "layer/tar-writer.hpp"

namespace imaged {

class ChunkedWriter : public ByteSink {
public:
    // SINK is borrowed. Belongs to one thread.
    explicit ChunkedWriter(ByteSink& sink);
    ~ChunkedWriter() override;

    // The bytes of the tar.
    using ByteSink::write;
    void write(std::span<const std::byte> bytes) override;
    // The bytes so far end with the headers of ITEM; its content is next. To be given to the TarWriter as its hook.
    void entry(const TarItem& item);

    // Writes the rest. Returns the annotations of the layer by the ends of their names, as Descriptor::chunked has
    // them. They are empty if the layer cannot be described so that other programs accept it: a path occurs twice, a
    // name is not UTF-8, or the tables are larger than imaged reads. The blob is an ordinary zstd layer then.
    std::map<std::string, std::string> finish();

private:
    class Frames;
    class Table;

    void end_segment();
    void write_content(std::span<const std::byte> content);
    void end_chunk();
    void end_file();

    ByteSink& sink_;
    std::uint64_t position_ = 0;  // in the blob
    std::unique_ptr<Frames> frames_;
    std::unique_ptr<Table> table_, split_;
    std::string segment_;             // of the tar, since the content of the last file or its headers
    std::vector<std::size_t> paths_;  // their hashes
    bool describable_ = true;

    // The file whose content is being written.
    struct File {
        TarItem item;
        std::uint64_t left, offset;
        std::uint64_t crc = 0;
        // Those that have ended, if it is large; and the current one.
        std::vector<TableChunk> chunks = {};
        TableChunk chunk{};
        OwnChunkEnds ends = {};
    };
    std::optional<File> file_;
    Sha256 content_, chunk_content_;
    bool first_row_ = true;
};

}  // namespace imaged
