// SPDX-License-Identifier: Apache-2.0
#include "store/catalog/known-entries.hpp"

#include <filesystem>
#include <fstream>
#include <iterator>

#include "catch.hpp"
#include "checksum-of.hpp"
#include "temporary-repository.hpp"

using namespace imaged;
namespace fs = std::filesystem;

namespace {

struct Kept {
    TemporaryRepository home;
    const int fd = home.repository.fd();
    const fs::path file = fs::path(home.path) / "extensions/imaged/listing";
    const KnownEntry one{R"({"state":"ok")", checksum_of('a'), {1, 2, 3}, {{checksum_of('b'), LayerKind::commit}}};
    const KnownEntry other{"", checksum_of('c'), {4, 5, 6}, {}};

    Kept() { write_known_entries(fd, {{checksum_of('1'), &one, one.text}, {checksum_of('2'), &other, other.text}}); }
    std::string text() const {
        std::ifstream stream(file, std::ios::binary);
        return {std::istreambuf_iterator<char>(stream), {}};
    }
    void replace(const std::string& text) const {
        fs::remove(file);
        std::ofstream(file, std::ios::binary) << text;
    }
};

}  // namespace

TEST_CASE("entries of a listing are kept as they were") {
    const Kept kept;
    const auto entries = read_known_entries(kept.fd);
    REQUIRE(entries.size() == 2);
    const auto& one = entries.at(checksum_of('1'));
    CHECK(one.text == kept.one.text);
    CHECK(one.tree == kept.one.tree);
    CHECK(one.stamp == kept.one.stamp);
    REQUIRE(one.layers.size() == 1);
    CHECK(one.layers.front().blob == checksum_of('b'));
    CHECK(one.layers.front().kind == LayerKind::commit);
    CHECK(entries.at(checksum_of('2')).text.empty());
    CHECK(entries.at(checksum_of('2')).layers.empty());
}

TEST_CASE("a file of entries that is truncated, changed in any byte or not imaged's counts as absent") {
    const Kept kept;
    const auto text = kept.text();
    for (std::size_t end = 0; end < text.size(); ++end) {
        kept.replace(text.substr(0, end));
        CHECK(read_known_entries(kept.fd).empty());
    }
    for (std::size_t at = 0; at < text.size(); ++at) {
        auto changed = text;
        changed[at] = static_cast<char>(changed[at] ^ 1);
        kept.replace(changed);
        CHECK(read_known_entries(kept.fd).empty());
    }
    kept.replace(text);
    CHECK(read_known_entries(kept.fd).size() == 2);
    fs::permissions(kept.file, fs::perms::all);
    CHECK(read_known_entries(kept.fd).empty());
    fs::remove(kept.file);
    fs::create_symlink("/etc/passwd", kept.file);
    CHECK(read_known_entries(kept.fd).empty());
    fs::remove(kept.file);
    fs::create_directory(kept.file);
    CHECK(read_known_entries(kept.fd).empty());
    write_known_entries(kept.fd, {{checksum_of('1'), &kept.one, kept.one.text}});
    CHECK(read_known_entries(kept.fd).size() == 1);
}
