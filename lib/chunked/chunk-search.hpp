// SPDX-License-Identifier: Apache-2.0
// Finds the chunks of a file of a zstd:chunked layer in other files, which may be earlier versions of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/cancellation.hpp"
#include "chunked/table.hpp"

namespace imaged {

class ChunkSearch {
public:
    // Borrows all. CHUNKS are those of a file, at least one.
    ChunkSearch(std::span<const TableChunk> chunks, const Cancellation& cancellation);

    // A file that look_in() got, counted from 0, and where the content of the chunk begins there.
    struct Place {
        std::size_t file;
        std::uint64_t offset;
    };

    // Looks in FILE of SIZE bytes for the chunks that were not found yet: cuts it as known writers of such layers do,
    // and, if ALIGNED, looks as far from its beginning and its end as the chunk is in its own file. Reads about twice
    // as much as the chunks have at most. Returns whether any was found. Throws Error(failed) if FILE cannot be read,
    // and Error(cancelled).
    bool look_in(int file, std::uint64_t size, bool aligned);

    // Returns the bytes read in all files together.
    std::uint64_t bytes_read() const { return bytes_read_; }
    const std::optional<Place>& operator[](std::size_t chunk) const { return places_[chunk]; }

private:
    template <typename Ends>
    void cut(int file, std::uint64_t size);
    void found_chunk(int file, std::uint64_t offset, std::uint64_t size);
    void look_aligned(int file, std::uint64_t size);
    Checksum content(int file, std::uint64_t offset, std::uint64_t size);

    const std::span<const TableChunk> chunks_;
    const Cancellation& cancellation_;
    std::uint64_t bytes_ = 0, bytes_read_ = 0;  // the first of all chunks
    std::vector<std::uint32_t> by_size_;        // numbers of chunks, in the order of their sizes and contents
    std::vector<std::optional<Place>> places_;
    std::size_t files_ = 0, left_;
};

}  // namespace imaged
