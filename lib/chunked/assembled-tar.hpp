// SPDX-License-Identifier: Apache-2.0
// Reassembles the tar of a zstd:chunked layer from its tar-split, local files and fetched frames. Nothing of it is
// verified but that there is enough: the SHA-256 of all of it is the layer's diff-id.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <string>

#include "base/file-descriptor.hpp"
#include "chunked/chunked-plan.hpp"
#include "chunked/tar-split.hpp"
#include "layer/byte-source.hpp"

namespace imaged {

class AssembledTar : public ByteSource {
public:
    // The object with the content of a file of the plan that is here, from its beginning or from that content's.
    using OpenHere = std::function<FileDescriptor(const ChunkedPlan::File&)>;
    // All borrowed but OPEN_HERE. FETCHED gives the contents of the plan's other files, one after the other.
    AssembledTar(ByteSource& split_text, const ChunkedPlan& plan, ByteSource& fetched, OpenHere open_here)
        : split_(split_text), plan_(plan), fetched_(fetched), open_here_(std::move(open_here)) {}

    // Throws Error(corrupt_input) where the parts do not fit together.
    std::size_t read(std::span<std::byte> buffer) override;
    // Knows files of more than ObjectSink::max_small_bytes only.
    FileDescriptor file_at(std::uint64_t offset) override;

private:
    // The stream is read some blocks ahead of the reader of its tar (LayerStream): more files than these are not in
    // them. Each is an open file.
    static constexpr std::size_t most_noted = 16;
    struct Noted {
        std::uint64_t offset;  // of the content in the tar
        FileDescriptor file;
    };
    // False at the end.
    bool next_piece_of_tar();
    void next_part_of_file();
    std::size_t read_file(std::span<std::byte> buffer);
    void note_file();

    TarSplit split_;
    const ChunkedPlan& plan_;
    ByteSource& fetched_;
    const OpenHere open_here_;
    std::string literal_;
    std::size_t literal_position_ = 0;
    std::size_t next_file_ = 0;
    std::uint64_t file_left_ = 0, part_left_ = 0;
    FileDescriptor here_;         // of the current part of a file; empty if it is fetched
    std::uint64_t position_ = 0;  // in the tar
    std::mutex mutex_;            // of what follows
    std::deque<Noted> noted_;
};

}  // namespace imaged
