// SPDX-License-Identifier: Apache-2.0
#include "packages/package.hpp"

#include "../catch.hpp"
#include "base/error.hpp"

using namespace imaged;

namespace {

PackageSet set_of(const std::vector<Package>& packages) {
    PackageSet set;
    for (const auto& package : packages) set.add(package);
    return set;
}

std::string text_of(const std::vector<PackageChange>& changes) {
    std::string text;
    for (const auto& change : changes)
        text += change.name + "/" + change.architecture + " " + change.from.value_or("-") + " " +
                change.to.value_or("-") + "\n";
    return text;
}

constexpr auto dpkg = PackageFormat::dpkg, rpm = PackageFormat::rpm;

}  // namespace

TEST_CASE("packages that differ are changed, added or removed") {
    const auto changes = compare_packages(
        set_of({{dpkg, "same", "all", "1"}, {dpkg, "gone", "all", "1"}, {dpkg, "moved", "amd64", "1:2-1"}}),
        set_of({{dpkg, "same", "all", "1"}, {dpkg, "moved", "amd64", "1:2-2"}, {dpkg, "fresh", "amd64", "3"}}));
    CHECK(text_of(changes.changed) == "moved/amd64 1:2-1 1:2-2\n");
    CHECK(text_of(changes.added) == "fresh/amd64 - 3\n");
    CHECK(text_of(changes.removed) == "gone/all 1 -\n");
}

TEST_CASE("each architecture of a package is one of its own, and a package may move to another") {
    const auto changes = compare_packages(
        set_of({{dpkg, "libc6", "amd64", "1"}, {dpkg, "libc6", "i386", "1"}, {dpkg, "tool", "amd64", "1"}}),
        set_of({{dpkg, "libc6", "amd64", "2"}, {dpkg, "tool", "all", "1"}}));
    CHECK(text_of(changes.changed) == "libc6/amd64 1 2\ntool/all 1 1\n");
    CHECK(text_of(changes.removed) == "libc6/i386 1 -\n");
    CHECK(changes.added.empty());
}

TEST_CASE("a package in several versions changes as often as both sides have others") {
    const auto changes = compare_packages(
        set_of({{rpm, "kernel", "x86_64", "5-1"}, {rpm, "kernel", "x86_64", "5-2"}}),
        set_of({{rpm, "kernel", "x86_64", "5-2"}, {rpm, "kernel", "x86_64", "5-3"}, {rpm, "kernel", "x86_64", "5-4"}}));
    CHECK(text_of(changes.changed) == "kernel/x86_64 5-1 5-3\n");
    CHECK(text_of(changes.added) == "kernel/x86_64 - 5-4\n");
}

TEST_CASE("dpkg's package and rpm's of one name are two") {
    const auto changes = compare_packages(set_of({{dpkg, "bash", "", "1"}}), set_of({{rpm, "bash", "", "2"}}));
    CHECK(changes.changed.empty());
    REQUIRE(changes.added.size() == 1);
    CHECK(changes.added[0].format == rpm);
}

TEST_CASE("very many versions of one package are compared in time") {
    PackageSet from, to;
    for (std::size_t i = 0; i < PackageSet::max_packages; ++i) {
        from.add({rpm, "p", "a", std::to_string(i)});
        to.add({rpm, "p", "b", "x" + std::to_string(i)});
    }
    CHECK(compare_packages(from, to).changed.size() == PackageSet::max_packages);
}

TEST_CASE("texts that are no package's are refused") {
    PackageSet set;
    const auto add = [&](const std::string& name, const std::string& version) { set.add({dpkg, name, "", version}); };
    CHECK_THROWS_WITH(add("", "1"), containing("no name"));
    CHECK_THROWS_WITH(add("bash", ""), containing("package bash has no version"));
    CHECK_THROWS_WITH(add("a b", "1"), containing("printable ASCII"));
    CHECK_THROWS_WITH(add("a\x1b[2J", "1"), containing("printable ASCII"));
    CHECK_THROWS_WITH(add("a", "1\xc3\xa4"), containing("printable ASCII"));
    CHECK_THROWS_WITH(add(std::string(257, 'a'), "1"), containing("longer than 256 bytes"));
    CHECK(set.size() == 0);
    for (std::size_t i = 0; i < PackageSet::max_packages; ++i) add("p" + std::to_string(i), "1");
    CHECK_THROWS_WITH(add("one-more", "1"), containing("more than 100000 packages"));
}
