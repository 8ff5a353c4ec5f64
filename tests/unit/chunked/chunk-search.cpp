// SPDX-License-Identifier: Apache-2.0
#include "chunked/chunk-search.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "base/file-descriptor.hpp"
#include "catch.hpp"
#include "chunked/chunk-ends.hpp"

using namespace imaged;

namespace {

std::string content(std::size_t size, std::uint64_t state = 0) {
    std::string bytes;
    while (bytes.size() < size) {
        state = state * 6364136223846793005 + 1442695040888963407;
        bytes += static_cast<char>(state >> 56);
    }
    return bytes;
}

template <typename Ends>
std::vector<TableChunk> chunks_of(std::string_view text) {
    std::vector<TableChunk> chunks;
    Ends ends;
    std::size_t begin = 0;
    for (std::size_t position = 0; position < text.size();) {
        bool is_end = false;
        // In pieces, as from a stream.
        const auto piece = text.substr(position, 1000);
        position += ends.rest(std::as_bytes(std::span(piece)), is_end);
        if (!is_end && position < text.size()) continue;
        chunks.push_back({position - begin, 0, sha256(text.substr(begin, position - begin))});
        begin = position;
    }
    return chunks;
}

FileDescriptor file_with(std::string_view text) {
    FileDescriptor file(::memfd_create("content", MFD_CLOEXEC));
    REQUIRE(::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()));
    return file;
}

// How many bytes of TEXT were found in OTHER, each at the place where it is.
std::uint64_t found_bytes(std::string_view text, std::span<const TableChunk> chunks, std::string_view other,
                          bool aligned = false) {
    const Cancellation cancellation;
    ChunkSearch search(chunks, cancellation);
    const auto empty = file_with("");
    CHECK_FALSE(search.look_in(empty.get(), 0, aligned));
    const auto file = file_with(other);
    const bool any = search.look_in(file.get(), other.size(), aligned);
    std::uint64_t found = 0, position = 0;
    for (std::size_t i = 0; i < chunks.size(); ++i) {
        if (search[i]) {
            CHECK(search[i]->file == 1);
            CHECK(other.substr(search[i]->offset, chunks[i].size) == text.substr(position, chunks[i].size));
            found += chunks[i].size;
        }
        position += chunks[i].size;
    }
    CHECK(any == (found > 0));
    return found;
}

}  // namespace

TEST_CASE("chunks end where skopeo ends them") {
    std::vector<std::uint64_t> sizes;
    for (const auto& chunk : chunks_of<RollsumChunkEnds>(content(600'000))) sizes.push_back(chunk.size);
    // As skopeo 1.18.0 wrote for this content.
    CHECK(sizes == std::vector<std::uint64_t>{26121, 1926, 133171, 45608, 44681, 5359, 105560, 22419, 51250, 15782,
                                              37526, 110597});
}

TEMPLATE_TEST_CASE("chunks are found wherever they are", "", OwnChunkEnds, RollsumChunkEnds) {
    const auto old = content(4 << 20);
    const auto new_part = content(1000, 7);
    auto text = old;
    for (const std::size_t place : {3 << 20, 2 << 20, 1 << 20, 1000}) text.insert(place, new_part);
    const auto chunks = chunks_of<TestType>(text);
    CHECK(found_bytes(text, chunks, text) == text.size());
    CHECK(found_bytes(text, chunks, old) > text.size() / 2);
    CHECK(found_bytes(text, chunks, old.substr(2 << 20) + old.substr(0, 2 << 20)) > text.size() / 2);
    CHECK(found_bytes(text, chunks, content(text.size(), 3)) == 0);
    CHECK(found_bytes(text, chunks, content(20 << 20, 3) + text) == 0);  // too far
}

TEST_CASE("chunks of unknown writers are found where they were") {
    const auto old = content(1 << 20);
    auto text = old;
    text.insert(500'000, "more");
    std::vector<TableChunk> chunks;
    for (std::size_t begin = 0; begin < text.size(); begin += 65'000) {
        const auto piece = text.substr(begin, 65'000);
        chunks.push_back({piece.size(), 0, sha256(piece)});
    }
    CHECK(found_bytes(text, chunks, old) == 0);
    CHECK(found_bytes(text, chunks, old, true) == text.size() - 65'000);
}

TEST_CASE("many chunks with one content are all found") {
    const std::string piece = content(4096), text = piece + piece + piece;
    const std::vector<TableChunk> chunks(3, {4096, 0, sha256(piece)});
    CHECK(found_bytes(text, chunks, piece) == text.size());
}
