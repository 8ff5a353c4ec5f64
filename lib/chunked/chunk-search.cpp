// SPDX-License-Identifier: Apache-2.0
#include "chunked/chunk-search.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <tuple>

#include "base/content-hash.hpp"
#include "base/error.hpp"
#include "chunked/chunk-ends.hpp"

namespace imaged {

namespace {

constexpr std::size_t block_bytes = 128 * 1024;
// A file in which nothing was found until then, or in a quarter of it, is another one.
constexpr std::uint64_t patience_bytes = 4 * 1024 * 1024;

}  // namespace

ChunkSearch::ChunkSearch(std::span<const TableChunk> chunks, const Cancellation& cancellation)
    : chunks_(chunks), cancellation_(cancellation), places_(chunks.size()), left_(chunks.size()) {
    by_size_.reserve(chunks.size());
    for (const auto& chunk : chunks) {
        bytes_ += chunk.size;
        by_size_.push_back(static_cast<std::uint32_t>(by_size_.size()));
    }
    std::sort(by_size_.begin(), by_size_.end(), [&](auto one, auto other) {
        return std::tie(chunks[one].size, chunks[one].content) < std::tie(chunks[other].size, chunks[other].content);
    });
}

bool ChunkSearch::look_in(int file, std::uint64_t size, bool aligned) {
    const auto before = left_;
    cut<OwnChunkEnds>(file, size);
    if (left_ > 0) cut<RollsumChunkEnds>(file, size);
    if (left_ > 0 && aligned) look_aligned(file, size);
    ++files_;
    return left_ < before;
}

template <typename Ends>
void ChunkSearch::cut(int file, std::uint64_t size) {
    const auto before = left_;
    const auto end = std::min(size, 2 * bytes_);
    std::vector<std::byte> block(block_bytes);
    Ends ends;
    std::uint64_t begin = 0, position = 0;
    while (position < end && left_ > 0) {
        cancellation_.check();
        if (left_ == before && position > std::max(patience_bytes, size / 4)) return;
        const auto got = ::pread(file, block.data(), block.size(), static_cast<off_t>(position));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) throw_errno("read a file of the repository");
        if (got == 0) break;
        bytes_read_ += static_cast<std::uint64_t>(got);
        for (auto rest = std::span<const std::byte>(block).first(static_cast<std::size_t>(got)); !rest.empty();) {
            bool is_end = false;
            const auto count = ends.rest(rest, is_end);
            position += count;
            rest = rest.subspan(count);
            if (!is_end) continue;
            found_chunk(file, begin, position - begin);
            begin = position;
        }
    }
    if (position > begin) found_chunk(file, begin, position - begin);
}

// FILE has a chunk of SIZE at OFFSET: perhaps one that is wanted.
void ChunkSearch::found_chunk(int file, std::uint64_t offset, std::uint64_t size) {
    const auto less = [&](std::uint32_t chunk, std::uint64_t bytes) { return chunks_[chunk].size < bytes; };
    const auto first = std::lower_bound(by_size_.begin(), by_size_.end(), size, less);
    if (first == by_size_.end() || chunks_[*first].size != size) return;
    const auto found = content(file, offset, size);
    const auto lesser = [&](std::uint32_t chunk, const Checksum& checksum) {
        return chunks_[chunk].size == size && chunks_[chunk].content < checksum;
    };
    for (auto chunk = std::lower_bound(first, by_size_.end(), found, lesser);
         chunk != by_size_.end() && chunks_[*chunk].size == size && chunks_[*chunk].content == found; ++chunk) {
        if (places_[*chunk]) break;  // and all that are like it
        places_[*chunk] = Place{files_, offset};
        --left_;
    }
}

Checksum ChunkSearch::content(int file, std::uint64_t offset, std::uint64_t size) {
    bytes_read_ += size;
    return content_of(file, cancellation_, offset, size);
}

void ChunkSearch::look_aligned(int file, std::uint64_t size) {
    std::uint64_t position = 0;
    for (std::size_t i = 0; i < chunks_.size(); ++i) {
        cancellation_.check();
        const auto& chunk = chunks_[i];
        const auto behind = bytes_ - position;
        for (const auto place : {position, size - std::min(size, behind)}) {
            if (places_[i] || place > size || chunk.size > size - place) continue;
            if (content(file, place, chunk.size) == chunk.content) {
                places_[i] = Place{files_, place};
                --left_;
            }
            if (size == bytes_) break;
        }
        position += chunk.size;
    }
}

}  // namespace imaged
