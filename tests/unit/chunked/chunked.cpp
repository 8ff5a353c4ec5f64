// SPDX-License-Identifier: Apache-2.0
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include <string>
#include <vector>

#include "base/base64.hpp"
#include "base/error.hpp"
#include "catch.hpp"
#include "chunked/assembled-tar.hpp"
#include "chunked/chunked-parts.hpp"
#include "chunked/chunked-plan.hpp"
#include "chunked/table.hpp"
#include "chunked/wanted-frames.hpp"
#include "layer/decompressor.hpp"
#include "layer/text-source.hpp"

using namespace imaged;

namespace {

std::string all_of(ByteSource& source, std::size_t step = 100) {
    std::string text;
    std::vector<std::byte> buffer(step);
    while (const auto count = source.read(buffer)) text.append(reinterpret_cast<const char*>(buffer.data()), count);
    return text;
}

const std::string hex(64, 'a');

std::string entry(const std::string& name, std::uint64_t size, std::uint64_t offset, std::uint64_t end) {
    return R"({"type":"reg","name":")" + name + R"(","size":)" + std::to_string(size) + R"(,"digest":"sha256:)" + hex +
           R"(","offset":)" + std::to_string(offset) + R"(,"endOffset":)" + std::to_string(end) + "}";
}

std::string table(const std::string& entries, const std::string& more = R"("tarSplitDigest":"sha256:)" + hex + "\"") {
    return R"({"version":1,"entries":[)" + entries + "]" + (more.empty() ? "" : "," + more) + "}";
}

std::vector<TableFile> files_of(const std::string& text) {
    TextSource source(text);
    std::vector<TableFile> files;
    read_table(source, [&](TableFile& file) { files.push_back(file); });
    return files;
}

ErrorKind refusal(const std::string& text) {
    try {
        files_of(text);
    } catch (const Error& error) {
        return error.kind();
    }
    return ErrorKind::cancelled;  // none
}

std::string literal(const std::string& bytes) {
    return R"({"type":2,"payload":")" + encode_base64(bytes) + R"(","position":0})" + "\n";
}

std::string file_line(std::uint64_t size) {
    return R"({"type":1,"name":"x","size":)" + std::to_string(size) + R"(,"payload":"AAAA"})" + "\n";
}

std::string frame(const std::string& content) {
    std::string packed(ZSTD_compressBound(content.size()), '\0');
    packed.resize(ZSTD_compress(packed.data(), packed.size(), content.data(), content.size(), 1));
    return packed;
}

Descriptor layer(const std::string& table_position, const std::string& split_position) {
    Descriptor found{"", Digest(*Checksum::from_hex(hex)), 10'000};
    found.chunked = {{"manifest-checksum", "sha256:" + hex},
                     {"manifest-position", table_position},
                     {"tarsplit-position", split_position}};
    return found;
}

ChunkedPlan::File wanted(std::uint64_t size, std::uint64_t offset, std::uint64_t end) {
    return {size, offset, end, {}, ObjectType::file, false};
}

ChunkedPlan::File here(std::uint64_t size, std::uint64_t offset, std::uint64_t end) {
    return {size, offset, end, {}, ObjectType::file, true};
}

}  // namespace

TEST_CASE("a layer says where its table and its tar-split are") {
    const auto parts = chunked_parts(layer("5000:300:900:1", "5308:100:400"));
    REQUIRE(parts);
    CHECK(parts->table_digest.hex() == hex);
    CHECK((parts->table.offset == 5000 && parts->table.bytes == 300 && parts->table.unpacked == 900));
    CHECK((parts->split.offset == 5308 && parts->split.bytes == 100 && parts->split.unpacked == 400));
    for (const char* text : {"", "5000", "5000:300:900", "5000:300:900:2", "5000:300:900:1:1", "5000:300:900:1 ",
                             "-5:300:900:1", "5000:0:900:1", "5000:5001:900:1", "10001:1:900:1",
                             "18446744073709551615:2:900:1", "99999999999999999999:2:900:1", "5000:300:3000000000:1"})
        CHECK_FALSE(chunked_parts(layer(text, "5308:100:400")));
    CHECK_FALSE(chunked_parts(layer("5000:300:900:1", "5308:100:400:1")));
    CHECK_FALSE(chunked_parts(Descriptor{"", Digest(*Checksum::from_hex(hex)), 10'000}));
}

TEST_CASE("a table lists the files that have content, in their order") {
    const auto files = files_of(table(
        R"({"type":"dir","name":"opt/"},)" + entry("opt/a", 5, 10, 20) +
        R"(,{"type":"chunk","name":"opt/a","offset":15,"chunkSize":2},)" + R"({"type":"reg","name":"opt/empty"},)" +
        R"({"type":"symlink","name":"opt/l","linkName":"a","xattrs":{"size":"7"}},)" + entry("opt/b", 7, 30, 40)));
    REQUIRE(files.size() == 2);
    CHECK((files[0].name == "opt/a" && files[0].size == 5 && files[0].offset == 10 && files[0].end == 20));
    CHECK((files[1].name == "opt/b" && files[1].size == 7 && files[1].content.hex() == hex));
    CHECK(files_of(table("", "")).empty());
}

TEST_CASE("a file has the chunks that the table says, if they fit together") {
    const auto chunk = [](const std::string& more) {
        return R"({"type":"chunk","name":"f","chunkDigest":"sha256:)" + hex + "\"," + more + "}";
    };
    const auto first = [](const std::string& size) {
        auto text = entry("f", 9, 10, 40);
        text.insert(text.size() - 1, R"(,"chunkDigest":"sha256:)" + hex + R"(","chunkSize":)" + size);
        return text;
    };
    const auto chunks_of = [](const std::string& entries) {
        const auto files = files_of(table(entries + "," + entry("g", 1, 50, 60)));
        REQUIRE(files.size() == 2);
        CHECK((files[0].size == 9 && files[0].end == 40 && files[1].chunks.empty()));
        return files[0].chunks;
    };
    const auto second = R"("chunkOffset":4,"chunkSize":3,"offset":20)",
               third = R"("chunkOffset":7,"chunkSize":2,"offset":30)";
    const auto chunks = chunks_of(first("4") + "," + chunk(second) + "," + chunk(third));
    REQUIRE(chunks.size() == 3);
    CHECK((chunks[0].size == 4 && chunks[0].offset == 10 && chunks[1].size == 3 && chunks[1].offset == 20));
    CHECK((chunks[2].size == 2 && chunks[2].offset == 30 && chunks[2].content.hex() == hex));
    CHECK(chunks_of(first("9")).empty());
    CHECK(chunks_of(first("4") + "," + chunk(second)).empty());
    CHECK(chunks_of(first("4") + "," + chunk(third) + "," + chunk(second)).empty());
    CHECK(chunks_of(first("5") + "," + chunk(second) + "," + chunk(third)).empty());
    CHECK(chunks_of(first("4") + "," + chunk(second) + R"(,{"type":"chunk","chunkOffset":7,"chunkSize":2,"offset":30})")
              .empty());
    for (const char* last :
         {R"("chunkOffset":7,"chunkSize":3,"offset":30)", R"("chunkOffset":7,"chunkSize":2,"offset":20)",
          R"("chunkOffset":7,"chunkSize":2,"offset":40)", R"("chunkOffset":7,"chunkSize":0,"offset":30)",
          R"("chunkOffset":7,"chunkSize":18446744073709551615,"offset":30)"})
        CHECK(chunks_of(first("4") + "," + chunk(second) + "," + chunk(last)).empty());
    CHECK(chunks_of(first("4") + "," + chunk(second) + "," + chunk(third) + "," + chunk(third)).empty());
    CHECK(files_of(table(chunk(second))).empty());
}

TEST_CASE("a table says which tar-split goes with it, before its entries or behind") {
    for (const auto& text :
         {table(entry("a", 1, 1, 2)), R"({"tarSplitDigest":"sha256:)" + hex + R"(","entries":[],"version":1})"}) {
        TextSource source(text);
        const auto digest = read_table(source, [](TableFile&) {});
        REQUIRE(digest);
        CHECK(digest->hex() == hex);
    }
    TextSource source(table("", ""));
    CHECK_FALSE(read_table(source, [](TableFile&) {}));
}

TEST_CASE("what is no file with content is told where somebody asks") {
    TextSource source(
        table(R"({"type":"dir","name":"a/"},{"type":"reg","name":"a/.wh.x"},)" + entry("f", 1, 1, 2) +
              R"(,{"type":"chunk","offset":2,"endOffset":3},{"type":"symlink","linkName":"t","name":"l"})" +
              R"(,{"type":"dir","name":"b"})"));
    std::string found;
    read_table(
        source, [&](TableFile& file) { found += file.name + " "; },
        [&](TableEntry& other) { found += other.kind + ":" + other.name + ">" + other.target + " "; });
    CHECK(found == "dir:a/> reg:a/.wh.x> f symlink:l>t dir:b> ");
}

TEST_CASE("tables that are none are refused") {
    for (const auto& text :
         {std::string(), std::string("[]"), std::string("nonsense"), table(entry("a", 1, 1, 2)).substr(0, 60),
          table(entry("a", 1, 1, 2)) + "x", table(entry("a", 1, 5, 5)), table(entry("a", 1, 5, 3)),
          table(entry("a", 1, 1, 20) + "," + entry("b", 1, 19, 30)), table(R"({"type":"reg","size":1,"offset":1})"),
          table(R"({"type":"reg","size":1,"offset":1,"endOffset":2,"digest":"sha512:00"})"),
          table(R"({"xattrs":)" + std::string(100, '['))})
        CHECK(refusal(text) == ErrorKind::corrupt_input);
    CHECK(refusal(R"({"version":2,"entries":[]})") == ErrorKind::unsupported_image);
    CHECK(refusal(R"({"entries":[]})") == ErrorKind::unsupported_image);
    CHECK(refusal(table(entry(std::string(max_table_value_bytes + 1, 'a'), 1, 1, 2))) == ErrorKind::unsupported_image);
    CHECK(refusal(std::string(max_table_value_bytes + 1, ' ')) == ErrorKind::unsupported_image);
}

TEST_CASE("a tar-split gives bytes and places of files") {
    TextSource text(literal("head") + "\n" + file_line(7) + file_line(0) + literal("tail").substr(0, 29) + "\"}");
    TarSplit split(text);
    CHECK(split.next()->bytes == "head");
    CHECK(split.next()->file_size == 7);
    CHECK(split.next()->bytes == "tail");
    CHECK_FALSE(split.next());
    CHECK_FALSE(split.next());
}

TEST_CASE("long lines of a tar-split are read, up to a limit") {
    const std::string bytes(1 << 20, 'x');
    TextSource text(literal(bytes) + literal("b"));
    TarSplit split(text);
    CHECK(split.next()->bytes == bytes);
    CHECK(split.next()->bytes == "b");
    TextSource endless(std::string(max_split_line_bytes + 200'000, 'x'));
    TarSplit refused(endless);
    CHECK_THROWS_WITH(refused.next(), containing("too long"));
}

TEST_CASE("tar-splits that are none are refused") {
    for (const char* line :
         {"x", "[]", R"({"type":3})", R"({"type":2})", R"({"type":2,"payload":"!"})", R"({"type":1,"size":-1})",
          R"({"type":1,"size":"7"})", R"({"type":1,"size":1e3})", R"({"type":2,"payload":[[[[]]]]})", "{}"}) {
        TextSource text(line);
        TarSplit split(text);
        CHECK_THROWS_AS(split.next(), Error);
    }
}

TEST_CASE("ranges are merged over small gaps, and over larger ones where there would be too many") {
    ChunkedPlan plan;
    plan.add(wanted(1, 100, 200));
    plan.add(here(1, 200, 300));
    plan.add(wanted(1, 300, 400));
    plan.add(here(1, 400, 400 + many_at_a_time.least_gap_bytes + 1));
    plan.add(wanted(1, 400 + many_at_a_time.least_gap_bytes + 1, 400 + many_at_a_time.least_gap_bytes + 11));
    const auto ranges = plan.ranges(many_at_a_time);
    CHECK(ranges == std::vector<BlobRange>{{100, 300}, {400 + many_at_a_time.least_gap_bytes + 1, 10}});
    CHECK(bytes_of(ranges) == 310);

    ChunkedPlan many;
    for (std::uint64_t i = 0; i < 5000; ++i) many.add(wanted(1, i * 100'000, i * 100'000 + 10));
    CHECK(many.ranges(one_by_one) == std::vector<BlobRange>{{0, 4999 * 100'000 + 10}});
    CHECK(many.ranges(many_at_a_time).size() == 5000);
    // Of small files many changed: one range more is cheaper than the files between.
    ChunkedPlan small;
    for (std::uint64_t i = 0; i < 5000; ++i) small.add(wanted(1, i * 2000, i * 2000 + 400));
    CHECK(small.ranges(one_by_one).size() == 1);
    CHECK(small.ranges(many_at_a_time).size() == 5000);
    CHECK(ChunkedPlan().ranges(one_by_one).empty());
}

TEST_CASE("of too many ranges those with the smallest gaps between are merged") {
    // Gaps of all sizes up to the largest, as many of each.
    ChunkedPlan plan;
    std::uint64_t end = 0;
    for (unsigned number = 0; number < 2000; ++number) {
        plan.add(wanted(1, end, end + 1));
        end += 1 + (std::uint64_t{1} << (13 + number % 40));
    }
    const auto ranges = plan.ranges({4096, 0, 500});
    // 50 of each size, but for the last: those of the ten largest are left.
    CHECK(ranges.size() == 500);
    for (std::size_t i = 1; i < ranges.size(); ++i)
        CHECK(ranges[i].offset - ranges[i - 1].end() >= std::uint64_t{1} << 43);
    CHECK(ranges.back().end() <= end);
}

TEST_CASE("where each range is a request, the smallest gaps are fetched too, as far as they are little of all") {
    constexpr std::uint64_t wanted_bytes = 1024 * 1024;
    constexpr auto most_gap_bytes = one_by_one.most_gap_bytes;
    const auto plan_with = [](const std::vector<std::uint64_t>& gaps, std::uint64_t file_bytes) {
        ChunkedPlan plan;
        plan.add(wanted(1, 100, 100 + file_bytes));
        auto end = 100 + file_bytes;
        for (const auto gap : gaps) {
            plan.add(here(1, end, end + gap));
            end += gap;
            plan.add(wanted(1, end, end + file_bytes));
            end += file_bytes;
        }
        return plan;
    };
    CHECK(plan_with({50'000, most_gap_bytes, most_gap_bytes}, wanted_bytes).ranges(one_by_one).size() == 1);
    CHECK(plan_with({50'000, most_gap_bytes, most_gap_bytes}, wanted_bytes).ranges(many_at_a_time).size() == 4);
    CHECK(plan_with({most_gap_bytes + 1}, wanted_bytes).ranges(one_by_one).size() == 2);
    const std::vector<std::uint64_t> gaps{60'000, 60'000, 60'000, 60'000, 6'000,
                                          60'000, 60'000, 60'000, 60'000, 60'000};
    CHECK(plan_with(gaps, wanted_bytes).ranges(one_by_one).size() == 1);
    // With files of a tenth the same gaps are most of what is fetched.
    const auto ranges = plan_with(gaps, wanted_bytes / 10).ranges(one_by_one);
    REQUIRE(ranges.size() == gaps.size());
    CHECK(ranges[4].length == 2 * (wanted_bytes / 10) + 6'000);
}

TEST_CASE("only the frames of wanted files are handed on") {
    ChunkedPlan plan;
    plan.add(wanted(1, 2, 4));
    plan.add(here(1, 4, 6));
    plan.add(wanted(1, 7, 9));
    plan.add(here(1, 9, 5000));
    plan.add(wanted(1, 5000 + many_at_a_time.least_gap_bytes, 5002 + many_at_a_time.least_gap_bytes));
    const auto ranges = plan.ranges(many_at_a_time);
    REQUIRE(ranges.size() == 2);
    for (const std::size_t step : {1U, 3U, 100U}) {
        TextSource fetched("ABxxyCDEF");
        WantedFrames frames(plan, ranges, fetched);
        CHECK(all_of(frames, step) == "ABCDEF");
    }
    TextSource cut("ABxxyCD");
    WantedFrames frames(plan, ranges, cut);
    CHECK_THROWS_WITH(all_of(frames), containing("early"));
}

TEST_CASE("a tar is put together of its parts") {
    const auto first = frame("first file"), second = frame("the second");
    ChunkedPlan plan;
    plan.add(wanted(10, 0, first.size()));
    plan.add(here(4, first.size(), 100));
    plan.add(wanted(10, 100, 100 + second.size()));
    const auto ranges = plan.ranges(many_at_a_time);
    REQUIRE(ranges.size() == 1);
    const auto open_here = [](const ChunkedPlan::File&) {
        auto pipe = make_pipe();
        write_all(pipe.theirs.get(), std::as_bytes(std::span("here", 4)), "a pipe");
        return std::move(pipe.ours);
    };
    const auto assembled = [&](const std::string& split_text) {
        TextSource split(split_text), fetched(first + std::string(100 - first.size(), 'x') + second);
        WantedFrames frames(plan, ranges, fetched);
        const auto contents = decompress(frames);
        AssembledTar tar(split, plan, *contents, open_here);
        return all_of(tar, 7);
    };
    CHECK(assembled(literal("H1") + file_line(10) + literal("H2") + file_line(4) + literal("H3") + file_line(10) +
                    literal("end")) == "H1first fileH2hereH3the secondend");
    CHECK_THROWS_AS(assembled(literal("H1") + file_line(9)), Error);
    CHECK_THROWS_AS(assembled(literal("H1") + file_line(10)), Error);
    CHECK_THROWS_AS(assembled(file_line(10) + file_line(4) + file_line(10) + file_line(1)), Error);
    CHECK_THROWS_AS(assembled(file_line(10) + file_line(5) + file_line(10)), Error);
}

TEST_CASE("a file is put together of parts that are here and parts that are not") {
    const auto fetched_frame = frame("fetched");
    const auto part = [](ChunkedPlan::File file, bool ends, std::uint64_t from) {
        file.ends = ends;
        file.from = from;
        return file;
    };
    ChunkedPlan plan;
    plan.add(part(here(3, 0, 10), false, 2));
    plan.add(part(wanted(7, 10, 10 + fetched_frame.size()), false, 0));
    plan.add(part(here(2, 10 + fetched_frame.size(), 100), true, 6));
    const auto assembled = [&](const std::string& split_text) {
        TextSource split(split_text), fetched(fetched_frame);
        const auto ranges = plan.ranges(many_at_a_time);
        WantedFrames frames(plan, ranges, fetched);
        const auto contents = decompress(frames);
        AssembledTar tar(split, plan, *contents, [](const ChunkedPlan::File&) {
            FileDescriptor file(::memfd_create("object", MFD_CLOEXEC));
            write_all(file.get(), std::as_bytes(std::span("01234567", 8)), "an object");
            ::lseek(file.get(), 0, SEEK_SET);
            return file;
        });
        return all_of(tar, 2);
    };
    CHECK(assembled(literal("H") + file_line(12) + literal("end")) == "H234fetched67end");
    for (const unsigned size : {2U, 3U, 10U, 11U, 13U}) CHECK_THROWS_AS(assembled(file_line(size)), Error);
    CHECK_THROWS_AS(assembled(file_line(3) + file_line(9)), Error);
}

TEST_CASE("an assembled tar knows which large files are here, each at its place and once") {
    constexpr std::uint64_t large = 200'000;
    const auto fetched_frame = frame(std::string(large, 'f'));
    ChunkedPlan plan;
    auto add = [&, offset = std::uint64_t{0}](bool is_here, std::uint64_t size, std::uint64_t from, bool ends) mutable {
        plan.add({size, offset, offset + fetched_frame.size(), {}, ObjectType::file, is_here, ends, from});
        offset += fetched_frame.size();
    };
    add(true, large, 0, true);
    add(false, large, 0, true);
    add(true, 1000, 0, true);
    add(true, large, 5, true);   // another file's, from its middle on
    add(true, large, 0, false);  // in two parts
    add(true, large, large, true);
    add(true, large, 0, true);
    TextSource split(literal("H") + file_line(large) + file_line(large) + file_line(1000) + file_line(large) +
                     file_line(2 * large) + literal("H") + file_line(large)),
        fetched(fetched_frame);
    const auto ranges = plan.ranges(many_at_a_time);
    WantedFrames frames(plan, ranges, fetched);
    const auto contents = decompress(frames);
    std::vector<ino_t> opened;
    const auto inode = [](const FileDescriptor& file) {
        struct stat status {};
        REQUIRE(::fstat(file.get(), &status) == 0);
        return status.st_ino;
    };
    AssembledTar tar(split, plan, *contents, [&](const ChunkedPlan::File&) {
        FileDescriptor file(::memfd_create("object", MFD_CLOEXEC));
        REQUIRE(::ftruncate(file.get(), 2 * large) == 0);
        opened.push_back(inode(file));
        return file;
    });
    CHECK(all_of(tar, 70'000).size() == 2 + 6 * large + 1000);
    REQUIRE(opened.size() == 6);
    std::vector<std::uint64_t> known;
    std::vector<ino_t> files;
    for (std::uint64_t offset = 0; offset < 2 + 6 * large + 1000; ++offset) {
        const auto file = tar.file_at(offset);
        if (!file) continue;
        known.push_back(offset);
        files.push_back(inode(file));
    }
    CHECK(known == std::vector<std::uint64_t>{1, 2 + 5 * large + 1000});
    CHECK(files == std::vector<ino_t>{opened.front(), opened.back()});
    CHECK_FALSE(tar.file_at(1));
}

TEST_CASE("a file that is shorter than the table says ends the assembly") {
    ChunkedPlan plan;
    plan.add(here(4, 0, 10));
    TextSource split(file_line(4)), nothing("");
    AssembledTar tar(split, plan, nothing, [](const ChunkedPlan::File&) {
        auto pipe = make_pipe();
        write_all(pipe.theirs.get(), std::as_bytes(std::span("her", 3)), "a pipe");
        return std::move(pipe.ours);
    });
    CHECK_THROWS_WITH(all_of(tar), containing("early"));
}
