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
    CHECK_THROWS_WITH(tar.next(), containing("neither gzip, zstd nor tar"));
}
