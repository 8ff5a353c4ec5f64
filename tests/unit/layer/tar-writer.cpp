// SPDX-License-Identifier: Apache-2.0
#include "layer/tar-writer.hpp"

#include <cstring>

#include "base/error.hpp"
#include "catch.hpp"
#include "layer/compressor.hpp"
#include "layer/decompressor.hpp"
#include "layer/tar-reader.hpp"
#include "text-source.hpp"

using namespace imaged;

namespace {

class StringSink : public ByteSink {
public:
    using ByteSink::write;
    void write(std::span<const std::byte> bytes) override {
        text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    }
    std::string text;
};

TarEntry read_back(TarStyle style, TarItem item, std::string_view content = {}) {
    StringSink sink;
    TarWriter writer(sink, style);
    writer.add(std::move(item), content);
    writer.finish();
    CHECK(sink.text.size() % 512 == 0);
    TextSource source(sink.text);
    TarReader reader(source);
    const auto entry = reader.next();
    REQUIRE(entry);
    std::string found;
    for (auto piece = reader.content(); !piece.empty(); piece = reader.content())
        found.append(reinterpret_cast<const char*>(piece.data()), piece.size());
    CHECK(found == content);
    CHECK_FALSE(reader.next());
    return *entry;
}

}  // namespace

TEST_CASE("What is written is read back", "[tar-writer]") {
    std::string deep;
    for (int i = 0; i < 60; ++i) deep += "long/";
    for (const auto style : {TarStyle::pax, TarStyle::gnu}) {
        for (const std::string& path : {std::string("usr/bin/tool"), deep + "name", std::string("usr/ünï"),
                                        std::string(100, 'x'), std::string(101, 'x')}) {
            TarItem item;
            item.path = path;
            item.mode = 04755;
            item.uid = 4'000'000;
            item.gid = 7;
            const auto entry = read_back(style, item, "content");
            CHECK(join_path(entry.path) == path);
            CHECK(entry.mode == 04755);
            CHECK(entry.uid == 4'000'000);
            CHECK(entry.gid == 7);
        }
        const auto link = read_back(style, {TarItem::Type::symlink, "a", deep + "target"});
        CHECK(link.target == deep + "target");
        const auto hardlink = read_back(style, {TarItem::Type::hardlink, "a", deep + "target"});
        CHECK(join_path(hardlink.link) == deep + "target");
        CHECK(read_back(style, {TarItem::Type::directory, "./"}).path.empty());
    }
}

TEST_CASE("Extended attributes of any bytes are read back", "[tar-writer]") {
    TarItem item;
    item.path = "a";
    // 99 and 100 bytes: where the length of a record's length changes.
    for (std::size_t size = 0; size < 130; ++size) {
        item.xattrs = {{"security.capability", std::string("\1\0\n=", 4)}, {"user.x", std::string(size, 'v')}};
        CHECK(read_back(TarStyle::pax, item).xattrs == item.xattrs);
    }
}

TEST_CASE("A content of another size than its header says is refused", "[tar-writer]") {
    StringSink sink;
    TarWriter writer(sink, TarStyle::pax);
    TarItem item;
    item.path = "a";
    item.size = 3;
    writer.begin(item);
    CHECK_THROWS_AS(writer.content(std::as_bytes(std::span("four", 4))), Error);
    CHECK_THROWS_AS(writer.finish(), Error);
}

TEST_CASE("What is compressed is decompressed", "[compressor]") {
    std::string text;
    for (unsigned i = 0; i < 400'000; ++i) text += std::to_string(i * 2'654'435'761U);
    for (const auto& content : {std::string(), std::string("x"), text}) {
        for (const auto compression : {Compression::none, Compression::gzip, Compression::zstd}) {
            StringSink sink;
            const auto compressor = compress(compression, sink);
            for (std::size_t begin = 0; begin < content.size(); begin += 100'000)
                compressor->write(std::string_view(content).substr(begin, 100'000));
            compressor->finish();
            if (compression != Compression::none && content.size() > 100) CHECK(sink.text.size() < content.size());
            TextSource source(sink.text);
            const auto stream = decompress(source);
            std::string found(content.size() + 1, '\0');
            found.resize(stream->read(std::as_writable_bytes(std::span(found))));
            CHECK(found == content);
        }
    }
}
