// SPDX-License-Identifier: Apache-2.0
#include "layer/tar-reader.hpp"

#include <cstdio>
#include <cstring>

#include "base/error.hpp"
#include "catch.hpp"
#include "text-source.hpp"

using namespace imaged;

namespace {

// A ustar header.
std::string header(const std::string& name, std::size_t size, char type = '0') {
    std::string block(512, '\0');
    const auto put = [&](std::size_t offset, const std::string& text) { block.replace(offset, text.size(), text); };
    char octal[13];
    put(0, name);
    put(100, "0000644");
    put(108, "0000000");
    put(116, "0000000");
    std::snprintf(octal, sizeof octal, "%011zo", size);
    put(124, octal);
    put(136, "00000000000");
    put(148, "        ");
    block[156] = type;
    put(257, std::string("ustar\00000", 8));
    unsigned sum = 0;
    for (const unsigned char c : block) sum += c;
    std::snprintf(octal, sizeof octal, "%06o", sum);
    put(148, std::string(octal, 6) + std::string("\0 ", 2));
    return block;
}

std::string padded(std::string content) {
    content.resize((content.size() + 511) / 512 * 512);
    return content;
}

std::string pax(const std::string& records, char type = 'x') {
    return header("PaxHeaders/x", records.size(), type) + padded(records);
}

std::string record(const std::string& text) {
    auto length = text.size() + 3;
    while (std::to_string(length).size() + text.size() + 2 != length) ++length;
    return std::to_string(length) + " " + text + "\n";
}

std::string read_content(TarReader& tar) {
    std::string content;
    for (auto piece = tar.content(); !piece.empty(); piece = tar.content())
        content.append(reinterpret_cast<const char*>(piece.data()), piece.size());
    return content;
}

}  // namespace

TEST_CASE("names are taken apart: no leading slash, no empty or dot components", "[tar-reader]") {
    TextSource source(header("./usr//bin/./x", 0) + header("/etc/y", 0) + header("./", 0, '5') +
                      std::string(1024, '\0'));
    TarReader tar(source);
    CHECK(join_path(tar.next()->path) == "usr/bin/x");
    CHECK(join_path(tar.next()->path) == "etc/y");
    CHECK(tar.next()->path.empty());
    CHECK_FALSE(tar.next());
}

TEST_CASE("a path that climbs is refused by its name", "[tar-reader]") {
    TextSource source(header("usr/../../x", 0) + std::string(1024, '\0'));
    TarReader tar(source);
    CHECK_THROWS_WITH(tar.next(), containing("usr/../../x"));
}

TEST_CASE("an empty stream is an empty layer", "[tar-reader]") {
    TextSource source("");
    TarReader tar(source);
    CHECK_FALSE(tar.next());
}

TEST_CASE("padding and end marker may be missing behind the last file, its content may not", "[tar-reader]") {
    const auto first = header("a", 5) + padded("first");
    {
        TextSource source(first + header("b", 4) + "last");
        TarReader tar(source);
        tar.next();
        CHECK(read_content(tar) == "first");
        REQUIRE(tar.next());
        CHECK(read_content(tar) == "last");
        CHECK_FALSE(tar.next());
    }
    {
        TextSource source(first + header("b", 4) + "las");
        TarReader tar(source);
        tar.next();
        read_content(tar);
        tar.next();
        CHECK_THROWS_AS(read_content(tar), Error);
    }
}

TEST_CASE("a header that is cut short or has a wrong checksum is corrupt", "[tar-reader]") {
    auto broken = header("b", 0);
    broken[3] = 'x';
    for (const auto& tail : {header("b", 0).substr(0, 300), broken}) {
        TextSource source(header("a", 5) + padded("first") + tail);
        TarReader tar(source);
        tar.next();
        read_content(tar);
        CHECK_THROWS_AS(tar.next(), Error);
    }
}

TEST_CASE("a block of zeros and more of the archive behind it is corrupt, two blocks end it", "[tar-reader]") {
    const auto file = header("a", 5) + padded("first");
    {
        TextSource source(file + std::string(512, '\0') + header("b", 0) + std::string(1024, '\0'));
        TarReader tar(source);
        REQUIRE(tar.next());
        CHECK_THROWS_WITH(tar.next(), containing("at byte 1024"));
    }
    for (const auto& end : {std::string(512, '\0'), std::string(1024, '\0') + header("b", 0)}) {
        TextSource source(file + end);
        TarReader tar(source);
        REQUIRE(tar.next());
        CHECK_FALSE(tar.next());
    }
}

TEST_CASE("an entry without content has none, whatever sizes its headers name", "[tar-reader]") {
    // Wherever a piece of the stream ends between the headers.
    for (const std::size_t before : {0UL, 257UL * 1024, 260'096UL, 260'608UL, 261'120UL, 261'632UL, 262'144UL}) {
        for (const char type : {'1', '2', '3', '4', '5', '6'}) {
            for (const bool in_pax : {true, false}) {
                CAPTURE(before, type, in_pax);
                auto entry = header("entry", in_pax ? 0 : 1024, type);
                if (type < '3') {
                    entry.replace(157, 6, "target");
                    entry.replace(148, 8, "        ");
                    unsigned sum = 0;
                    for (const unsigned char c : entry) sum += c;
                    char octal[8];
                    std::snprintf(octal, sizeof octal, "%06o", sum);
                    entry.replace(148, 8, std::string(octal, 7) + " ");
                }
                const auto records = record("mtime=1.5") + record("size=1024") + record("mtime=2");
                TextSource source(header("first", before) + padded(std::string(before, 'x')) + pax(record("mtime=1")) +
                                  header("ordinary", 0) + (in_pax ? pax(records) : "") + entry + header("next", 4) +
                                  padded("next") + pax(record("size=4")) + header("sized", 0) + padded("data") +
                                  std::string(1024, '\0'));
                TarReader tar(source);
                REQUIRE(tar.next());
                REQUIRE(tar.next());
                CHECK(join_path(tar.next()->path) == "entry");
                const auto next = tar.next();
                REQUIRE(next);
                CHECK(join_path(next->path) == "next");
                CHECK(read_content(tar) == "next");
                CHECK(join_path(tar.next()->path) == "sized");
                CHECK(read_content(tar) == "data");
                CHECK_FALSE(tar.next());
            }
        }
    }
}

TEST_CASE("a record without a value leaves what the header says, a global one is about nothing", "[tar-reader]") {
    for (const auto& before : {pax(record("size=") + record("path=")), pax(record("size=1") + record("path=y"), 'g')}) {
        TextSource source(before + header("x", 4) + padded("data") + std::string(1024, '\0'));
        TarReader tar(source);
        CHECK(join_path(tar.next()->path) == "x");
        CHECK(read_content(tar) == "data");
        CHECK_FALSE(tar.next());
    }
}

TEST_CASE("a lone block of zeros is found behind global records too", "[tar-reader]") {
    for (const auto& between :
         {pax(record("comment=x"), 'g'), pax(record("comment=x"), 'g') + pax(record("comment=y"), 'g')}) {
        TextSource source(header("a", 5) + padded("first") + between + std::string(512, '\0') + header("b", 0) +
                          std::string(1024, '\0'));
        TarReader tar(source);
        REQUIRE(tar.next());
        CHECK_THROWS_WITH(tar.next(), containing("a block of zeros"));
    }
    TextSource source(pax(record("comment=x"), 'g') + header("a", 5) + padded("first") + std::string(512, '\0') +
                      header("b", 0) + std::string(1024, '\0'));
    TarReader tar(source);
    REQUIRE(tar.next());
    CHECK_THROWS_WITH(tar.next(), containing("a block of zeros"));
}

TEST_CASE("malformed pax records are corrupt", "[tar-reader]") {
    for (const char type : {'x', 'g'}) {
        for (const std::string records :
             {"15 path=usr/ab", "15 path=usr/abX", "99 path=usr/ab\n", "x5 path=usr/ab\n", "15path=usr//ab\n",
              "6 ab\n\n", "7 =abc\n", "9 size=x\n", "11 size=-5\n", "11 size=5x\n", "10 uid=1x\n", "10 gid= 1\n",
              "14 mtime=1.5\n\nabc", "29 size=99999999999999999999\n"}) {
            CAPTURE(type, records);
            TextSource source(pax(records, type) + header("x", 0) + std::string(1024, '\0'));
            TarReader tar(source);
            CHECK_THROWS_AS(tar.next(), Error);
        }
    }
    TextSource source(pax(record("mtime=1.5") + record("comment=") + record("uid=7")) + header("x", 0) +
                      std::string(1024, '\0'));
    TarReader tar(source);
    CHECK(tar.next()->uid == 7);
}

TEST_CASE("of two records for one attribute the last one counts", "[tar-reader]") {
    TextSource source(pax(record("SCHILY.xattr.user.a=first") + record("SCHILY.xattr.user.b=b") +
                          record("SCHILY.xattr.user.a=last")) +
                      header("x", 0) + std::string(1024, '\0'));
    TarReader tar(source);
    CHECK(tar.next()->xattrs == std::vector<std::pair<std::string, std::string>>{{"user.a", "last"}, {"user.b", "b"}});
}

TEST_CASE("a NUL in a name of a pax header is corrupt, whatever its place in the stream", "[tar-reader]") {
    const auto pax = [](const std::string& records) {
        return header("PaxHeaders/x", records.size(), 'x') + padded(records);
    };
    const std::string cut("16 path=usr/a\0b\n", 16), whole = "15 path=usr/ab\n";
    for (const std::size_t size : {0UL, 100'000UL, 700'000UL}) {
        const auto before = header("a", size) + padded(std::string(size, 'x'));
        TextSource good(before + pax(whole) + header("short", 0) + std::string(1024, '\0'));
        TarReader tar(good);
        REQUIRE(tar.next());
        CHECK(join_path(tar.next()->path) == "usr/ab");
        TextSource bad(before + pax(cut) + header("short", 0) + std::string(1024, '\0'));
        TarReader corrupt(bad);
        REQUIRE(corrupt.next());
        CHECK_THROWS_WITH(corrupt.next(), containing("NUL"));
    }
}

TEST_CASE("an access control list leaves the mode of the header", "[tar-reader]") {
    const std::string text = "SCHILY.acl.access=user::rwx,group::r-x,group:7:rwx,mask::rwx,other::---\n";
    const auto records = std::to_string(text.size() + 3) + " " + text;
    TextSource source(header("PaxHeaders/x", records.size(), 'x') + padded(records) + header("file", 0) +
                      std::string(1024, '\0'));
    TarReader tar(source);
    const auto entry = tar.next();
    CHECK(entry->mode == 0644);
    CHECK(entry->acls == 1);
}

TEST_CASE("what is no tar at all is named so", "[tar-reader]") {
    TextSource source(std::string(2000, 'x'));
    TarReader tar(source);
    CHECK_THROWS_WITH(tar.next(), containing("no tar, nor one that gzip, zstd, xz or bzip2"));
}
