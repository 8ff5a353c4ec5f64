// SPDX-License-Identifier: Apache-2.0
// What a zstd:chunked layer says of itself. An input is three texts with the byte 0x1e between: a table of contents, a
// tar-split, and the fetched parts of the blob.
#include <fcntl.h>

#include <array>
#include <string>
#include <vector>

#include "chunked/assembled-tar.hpp"
#include "chunked/chunked-parts.hpp"
#include "chunked/chunked-plan.hpp"
#include "chunked/wanted-frames.hpp"
#include "input.hpp"
#include "layer/decompressor.hpp"

using namespace imaged;

namespace {

constexpr std::uint8_t separator = 0x1e;
constexpr std::size_t max_assembled_bytes = 16 * 1024 * 1024;

struct Texts {
    std::array<std::span<const std::uint8_t>, 3> parts;
};

Texts split(std::span<const std::uint8_t> input) {
    Texts texts;
    for (std::size_t i = 0; i < 2; ++i) {
        const auto end = std::find(input.begin(), input.end(), separator);
        texts.parts[i] = input.first(static_cast<std::size_t>(end - input.begin()));
        input = input.subspan(end == input.end() ? input.size() : texts.parts[i].size() + 1);
    }
    texts.parts[2] = input;
    return texts;
}

fuzz::MemorySource source(std::span<const std::uint8_t> bytes) {
    return {bytes.data(), bytes.size()};
}

// Every other file of the table counts as one that is here, and then has zeros.
void plan_of(std::span<const std::uint8_t> table, ChunkedPlan& plan) {
    auto text = source(table);
    std::uint64_t end = 0;
    std::size_t planned = 0;
    read_table(text, [&](TableFile& file) {
        fuzz::require(file.size > 0 && file.offset >= end && file.end > file.offset, "files are in order");
        end = file.end;
        std::uint64_t size = 0;
        for (std::size_t i = 0; i < file.chunks.size(); ++i) {
            const auto& chunk = file.chunks[i];
            const bool last = i + 1 == file.chunks.size();
            const auto chunk_end = last ? file.end : file.chunks[i + 1].offset;
            fuzz::require(chunk.size > 0 && chunk.offset < chunk_end && chunk_end <= file.end, "chunks are in order");
            size += chunk.size;
            plan.add(
                {chunk.size, chunk.offset, chunk_end, chunk.content, ObjectType::file, plan.size() % 2 == 1, last});
        }
        fuzz::require(file.chunks.empty() || (size == file.size && file.chunks[0].offset == file.offset),
                      "chunks are all of a file");
        ++planned;
        if (file.chunks.empty())
            plan.add({file.size, file.offset, file.end, file.content, ObjectType::file, plan.size() % 2 == 1});
    });
    // With all entries, as a check looks at it.
    auto again = source(table);
    std::size_t files = 0;
    read_table(
        again, [&](TableFile&) { ++files; }, [](TableEntry&) {});
    fuzz::require(files == planned, "the same files are found");
}

void look_at_ranges(const ChunkedPlan& plan, const RangeRules& rules) {
    const auto ranges = plan.ranges(rules);
    fuzz::require(ranges.size() <= rules.max_ranges, "ranges are not too many");
    std::size_t at = 0;
    std::uint64_t end = 0;
    for (const auto& range : ranges) {
        fuzz::require(range.length > 0 && range.offset >= end && range.end() > range.offset, "ranges are in order");
        end = range.end();
    }
    for (std::size_t i = 0; i < plan.size(); ++i) {
        if (plan[i].is_here) continue;
        while (at < ranges.size() && ranges[at].end() < plan[i].end) ++at;
        fuzz::require(at < ranges.size() && ranges[at].offset <= plan[i].offset, "what is wanted is fetched");
    }
}

void assemble(const ChunkedPlan& plan, std::span<const std::uint8_t> split_bytes, std::span<const std::uint8_t> blob) {
    const auto ranges = plan.ranges(many_at_a_time);
    auto split_text = source(split_bytes), fetched = source(blob);
    WantedFrames frames(plan, ranges, fetched);
    const auto contents = decompress(frames);
    AssembledTar tar(split_text, plan, *contents,
                     [](const ChunkedPlan::File&) { return open_at(AT_FDCWD, "/dev/zero", O_RDONLY); });
    std::vector<std::byte> buffer(64 * 1024);
    for (std::size_t total = 0; total < max_assembled_bytes;) {
        const auto count = tar.read(buffer);
        total += count;
        if (count < buffer.size()) return;
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto texts = split({data, size});
    ChunkedPlan plan;
    if (fuzz::accepted([&] { plan_of(texts.parts[0], plan); })) {
        for (const auto& rules : {one_by_one, many_at_a_time}) look_at_ranges(plan, rules);
    }
    fuzz::accepted([&] { assemble(plan, texts.parts[1], texts.parts[2]); });
    // The annotations of a layer.
    Descriptor layer{"", Digest(*Checksum::from_hex(std::string(64, '0'))), 1'000'000};
    layer.chunked = {{"manifest-checksum", layer.digest.text()},
                     {"manifest-position", std::string(fuzz::text(data, size))},
                     {"tarsplit-position", "5:5:5"}};
    if (const auto parts = chunked_parts(layer))
        fuzz::require(parts->table.offset + parts->table.bytes <= layer.size, "the table is in the blob");
    return 0;
}
