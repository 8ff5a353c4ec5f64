// SPDX-License-Identifier: Apache-2.0
#include "packages/dpkg-status.hpp"

#include <algorithm>
#include <cstring>

#include "../catch.hpp"
#include "base/error.hpp"

using namespace imaged;

namespace {

// Gives TEXT in parts of PART bytes.
ReadBytes reader(const std::string& text, std::size_t part = 1 << 20) {
    return [text, part, at = std::size_t{0}](std::span<std::byte> buffer) mutable {
        const auto size = std::min({buffer.size(), part, text.size() - at});
        std::memcpy(buffer.data(), text.data() + at, size);
        at += size;
        return size;
    };
}

std::string dpkg_packages_in(const std::string& text, bool without_status = false, std::size_t part = 1 << 20) {
    PackageSet set;
    read_dpkg_status(reader(text, part), without_status, set);
    std::string found;
    for (const auto& package : set.packages())
        found += package.name + ":" + package.architecture + "=" + package.version + " ";
    return found;
}

std::string stanza(const std::string& name, const std::string& version, const std::string& state = "installed",
                   const std::string& architecture = "amd64") {
    return "Package: " + name + "\nStatus: install ok " + state + "\nArchitecture: " + architecture +
           "\nVersion: " + version + "\nDescription: x\n more of it\n .\n Version: 99\n\n";
}

}  // namespace

TEST_CASE("the packages of a status file that are installed") {
    const auto text = stanza("a", "1:1-1") + stanza("b", "2") + stanza("gone", "3", "config-files") +
                      stanza("never", "4", "not-installed") + stanza("half", "5", "half-configured") +
                      stanza("waits", "6", "triggers-awaited");
    for (const std::size_t part : {1U, 7U, 4096U})
        CHECK(dpkg_packages_in(text, false, part) == "a:amd64=1:1-1 b:amd64=2 half:amd64=5 waits:amd64=6 ");
    // As it may end.
    CHECK(dpkg_packages_in(text.substr(0, stanza("a", "1:1-1").size() - 1)) == "a:amd64=1:1-1 ");
    CHECK(dpkg_packages_in("").empty());
    CHECK(dpkg_packages_in("\n\n\n").empty());
}

TEST_CASE("names and states are the same in upper and lower case, and the order of fields does not matter") {
    CHECK(dpkg_packages_in("version:  1 \nSTATUS:\tinstall  ok   installed\narchitecture: all\npackage: a\n") ==
          "a:all=1 ");
    CHECK(dpkg_packages_in(stanza("Lib-A", "1", "Installed") + stanza("b", "2", "Config-Files")) == "lib-a:amd64=1 ");
}

TEST_CASE("blanks are left out where dpkg leaves them out") {
    CHECK(dpkg_packages_in(
              "Package : a\nStatus\t:\vinstall ok\finstalled\r\nVersion  :1\r\nDescription: x\n\rPackage: b\n") ==
          "a:=1 ");
}

TEST_CASE("an old field has the rest of the version") {
    const std::string begin = "Package: a\nStatus: install ok installed\n", version = "Version: 1:2\n";
    for (const auto* const name : {"Revision", "Package-Revision", "package_revision"})
        CHECK(dpkg_packages_in(begin + version + name + ": 3\n") == "a:=1:2-3 ");
    CHECK(dpkg_packages_in(begin + version + "Revision:\n") == "a:=1:2 ");
    CHECK(dpkg_packages_in(begin + "Revision: 3\n" + version) == "a:=1:2 ");
}

TEST_CASE("each architecture is a package of its own") {
    CHECK(dpkg_packages_in(stanza("a", "1") + stanza("a", "1", "installed", "i386")) == "a:amd64=1 a:i386=1 ");
    CHECK(dpkg_packages_in(stanza("a", "1", "not-installed") + stanza("a", "2")) == "a:amd64=2 ");
}

TEST_CASE("what could mean two things is refused") {
    for (const auto* const state : {"installed", "config-files"})
        for (const auto* const other : {"installed", "config-files", "not-installed"})
            CHECK_THROWS_WITH(dpkg_packages_in(stanza("a", "1", state) + stanza("a", "2", other)),
                              containing("line 18: the stanza that ends here is the second one of package a"));
    CHECK_THROWS_WITH(dpkg_packages_in("Package: a\nStatus: install ok installed\nVersion: 1\nVersion: 2\n"),
                      containing("line 4: the field Version is there twice"));
    // dpkg reads a line of spaces as a part of the field before it.
    auto joined = stanza("a", "1") + stanza("b", "2");
    joined.insert(joined.find("\n\n") + 1, " ");
    CHECK_THROWS_WITH(dpkg_packages_in(joined), containing("the field Package is there twice"));
    for (const auto* const state : {"weird", "installed too"})
        CHECK_THROWS_WITH(dpkg_packages_in(stanza("a", "1", state)), containing("an unknown Status"));
}

TEST_CASE("versions are those that dpkg prints") {
    CHECK(dpkg_packages_in(stanza("a", "0:2-3") + stanza("b", "01:2:3") + stanza("c", "2147483647:1")) ==
          "a:amd64=2-3 b:amd64=1:2:3 c:amd64=2147483647:1 ");
    for (const auto* const version : {":1", "x:1", "-1:1", "2147483648:1", "1 :2"})
        CHECK_THROWS_WITH(dpkg_packages_in(stanza("a", version)), containing("an epoch that is no number"));
    CHECK_THROWS_WITH(dpkg_packages_in(stanza("a", "0:")), containing("package a has no version"));
}

TEST_CASE("a stanza without Status is installed in status.d only") {
    const std::string text = "Package: base-files\nVersion: 12\nArchitecture: amd64\n";
    CHECK(dpkg_packages_in(text).empty());
    CHECK(dpkg_packages_in(text, true) == "base-files:amd64=12 ");
}

TEST_CASE("what is no database of dpkg is refused with the line") {
    CHECK_THROWS_WITH(dpkg_packages_in("Package: a\nno field\n"), containing("line 2: it is no field"));
    CHECK_THROWS_WITH(dpkg_packages_in(": x\n"), containing("line 1"));
    CHECK_THROWS_WITH(dpkg_packages_in(" goes on\n"), containing("line 1: it begins with a continuation line"));
    CHECK_THROWS_WITH(dpkg_packages_in("Version: 1\n\n"), containing("no field Package"));
    CHECK_THROWS_WITH(dpkg_packages_in("Package: a\nStatus: installed\nVersion: 1\n"), containing("three words"));
    CHECK_THROWS_WITH(dpkg_packages_in("Package: a\nStatus: install ok installed\n"),
                      containing("package a has no version"));
    CHECK_THROWS_WITH(dpkg_packages_in(stanza("a\x1b[2J", "1")), containing("printable ASCII"));
    CHECK_THROWS_WITH(dpkg_packages_in("Package: " + std::string(5000, 'a') + "\n"), containing("Package is too long"));
    CHECK_THROWS_AS(dpkg_packages_in(std::string("\0\x01\x02\xff\n", 5)), Error);
    // SQLite's and gzip's first bytes.
    CHECK_THROWS_AS(dpkg_packages_in(std::string("SQLite format 3\0", 16)), Error);
    CHECK_THROWS_AS(dpkg_packages_in("\x1f\x8b\x08"), Error);
}

TEST_CASE("long fields that nobody wants are skipped") {
    CHECK(dpkg_packages_in("Depends: " + std::string(1 << 20, 'x') + "\n" + stanza("a", "1")) == "a:amd64=1 ");
}

TEST_CASE("a database without an end is refused") {
    std::uint64_t given = 0;
    PackageSet set;
    const ReadBytes endless = [&](std::span<std::byte> buffer) {
        std::memset(buffer.data(), 'x', buffer.size());
        given += buffer.size();
        return buffer.size();
    };
    const std::string start = "Description: ";
    bool first = true;
    const ReadBytes one_line = [&](std::span<std::byte> buffer) {
        if (!std::exchange(first, false)) return endless(buffer);
        std::memcpy(buffer.data(), start.data(), start.size());
        return start.size();
    };
    CHECK_THROWS_WITH(read_dpkg_status(one_line, false, set), containing("larger than the limit"));
    CHECK(given < max_dpkg_status_bytes + (1U << 20U));
}

TEST_CASE("millions of stanzas are refused") {
    std::size_t number = 0;
    PackageSet set;
    const ReadBytes stanzas = [&](std::span<std::byte> buffer) {
        const auto text = "Package: p" + std::to_string(number++) + "\nStatus: a b installed\nVersion: 1\n\n";
        std::memcpy(buffer.data(), text.data(), text.size());
        return text.size();
    };
    CHECK_THROWS_WITH(read_dpkg_status(stanzas, false, set), containing("more than 100000 packages"));
    CHECK(number < PackageSet::max_packages + 10);
}
