// SPDX-License-Identifier: Apache-2.0
#include "base/file-descriptor.hpp"

#include <fcntl.h>

#include <array>
#include <filesystem>
#include <span>
#include <string_view>

#include "base/error.hpp"
#include "base/scratch-directory.hpp"
#include "catch.hpp"

using namespace imaged;

TEST_CASE("a path that cannot be looked at does not lead elsewhere") {
    const ScratchDirectory home;
    const auto path = home.path().string();
    const auto opened = open_at(AT_FDCWD, path, O_RDONLY | O_DIRECTORY);
    REQUIRE(leads_to(AT_FDCWD, path, opened.get()));
    REQUIRE(!leads_to(AT_FDCWD, path + "/missing", opened.get()));
    REQUIRE(!leads_to(AT_FDCWD, "/", opened.get()));
    std::filesystem::create_symlink("loop", home.path() / "loop");
    REQUIRE(!leads_to(AT_FDCWD, path + "/loop", opened.get()));
    REQUIRE_THROWS_AS(leads_to(AT_FDCWD, path + "/" + std::string(300, 'x'), opened.get()), Error);
}

TEST_CASE("a part of a file is read to its end, or to that of the file") {
    const ScratchDirectory home;
    const auto file = open_at(AT_FDCWD, (home.path() / "file").string(), O_RDWR | O_CREAT, 0600);
    write_all(file.get(), std::as_bytes(std::span(std::string_view("0123456789"))), "the file");
    std::array<char, 4> buffer{};
    const auto read = [&](std::uint64_t offset) {
        const auto count = read_at(file.get(), offset, std::as_writable_bytes(std::span(buffer)), "the file");
        return std::string(buffer.data(), count);
    };
    REQUIRE(read(2) == "2345");
    REQUIRE(read(8) == "89");
    REQUIRE(read(10).empty());
    const auto closed = open_at(AT_FDCWD, (home.path() / "file").string(), O_WRONLY);
    REQUIRE_THROWS_AS(read_at(closed.get(), 0, std::as_writable_bytes(std::span(buffer)), "the file"), Error);
}
