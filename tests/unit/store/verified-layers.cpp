// SPDX-License-Identifier: Apache-2.0
#include "store/files/verified-layers.hpp"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>
#include <vector>

#include "base/error.hpp"
#include "catch.hpp"
#include "temporary-repository.hpp"

using namespace imaged;
namespace fs = std::filesystem;

namespace {

Digest digest(const std::string& text) {
    return Digest(sha256(text));
}

struct RecordsStore {
    TemporaryRepository home;
    VerifiedLayers verified{home.repository.fd()};
    const ImageLayer layer{LayerKind::derived, {"", digest("blob"), 10}, digest("content")};
    const Checksum commit = sha256("commit");

    fs::path directory() const { return fs::path(home.path) / "extensions/imaged/layers"; }
    fs::path file() const { return directory() / (layer.diff_id.hex() + ".derived"); }
    std::string text() const {
        std::ifstream stream(file(), std::ios::binary);
        return {std::istreambuf_iterator<char>(stream), {}};
    }
    void write(const std::string& content) const { std::ofstream(file(), std::ios::binary) << content; }
    bool known() const { return verified.layer(LayerKind::derived, layer.diff_id) == commit; }
};

}  // namespace

TEST_CASE("nothing is verified in a new repository") {
    RecordsStore store;
    REQUIRE_FALSE(store.known());
    REQUIRE_FALSE(store.verified.has_image(digest("manifest"), sha256("merge")));
}

TEST_CASE("what was recorded is found under its kind and diff-id, and under nothing else") {
    RecordsStore store;
    store.verified.add_layer(store.layer, store.commit, false);
    store.verified.add_image(digest("manifest"), sha256("merge"));
    REQUIRE(store.known());
    REQUIRE(store.verified.has_image(digest("manifest"), sha256("merge")));
    REQUIRE_FALSE(store.verified.has_image(digest("manifest"), sha256("another")));
    REQUIRE_FALSE(store.verified.has_image(digest("another"), sha256("merge")));
    REQUIRE_FALSE(store.verified.layer(LayerKind::chunk, store.layer.diff_id));
    REQUIRE_FALSE(store.verified.layer(LayerKind::commit, store.layer.diff_id));
    REQUIRE_FALSE(store.verified.layer(LayerKind::derived, store.layer.blob.digest));
}

TEST_CASE("no record of an image replaces another one") {
    RecordsStore store;
    store.verified.add_image(digest("manifest"), sha256("merge"));
    const auto file = fs::directory_iterator(store.directory())->path();
    store.verified.add_image(digest("manifest"), sha256("its merge under another name"));
    store.verified.add_image(digest("another"), sha256("merge"));
    REQUIRE(std::distance(fs::directory_iterator(store.directory()), {}) == 3);
    REQUIRE(store.verified.has_image(digest("manifest"), sha256("merge")));
    SECTION("nor counts under its name") {
        fs::path other;
        for (const auto& entry : fs::directory_iterator(store.directory())) {
            if (entry.path() != file) other = entry.path();
        }
        fs::copy_file(other, file, fs::copy_options::overwrite_existing);
        REQUIRE_FALSE(store.verified.has_image(digest("manifest"), sha256("merge")));
        REQUIRE(store.verified.stale([](const Checksum&) { return true; }).size() == 1);
    }
}

TEST_CASE("a later record replaces an earlier one") {
    RecordsStore store;
    store.verified.add_layer(store.layer, sha256("another"), false);
    store.verified.add_layer(store.layer, store.commit, false);
    REQUIRE(store.known());
    REQUIRE(std::distance(fs::directory_iterator(store.directory()), {}) == 1);
}

TEST_CASE("the record of a derived layer goes with one place of /var") {
    RecordsStore store;
    REQUIRE_FALSE(store.verified.goes_with(store.layer.diff_id, false));
    for (const bool moved : {true, false}) {
        store.verified.add_layer(store.layer, store.commit, moved);
        REQUIRE(store.known());
        REQUIRE(store.verified.goes_with(store.layer.diff_id, moved));
        REQUIRE_FALSE(store.verified.goes_with(store.layer.diff_id, !moved));
    }
}

TEST_CASE("every broken byte of a record makes it absent") {
    RecordsStore store;
    store.verified.add_layer(store.layer, store.commit, false);
    const auto right = store.text();
    for (std::size_t i = 0; i < right.size(); ++i) {
        auto broken = right;
        broken[i] = static_cast<char>(broken[i] ^ 1);
        store.write(broken);
        REQUIRE_FALSE(store.known());
        store.write(right.substr(0, i));
        REQUIRE_FALSE(store.known());
    }
    store.write(right + "x");
    REQUIRE_FALSE(store.known());
    store.write(right);
    REQUIRE(store.known());
}

TEST_CASE("a record under another name is absent") {
    RecordsStore store;
    store.verified.add_layer(store.layer, store.commit, false);
    const auto other = digest("other");
    fs::copy_file(store.file(), store.directory() / (other.hex() + ".derived"));
    fs::copy_file(store.file(), store.directory() / (store.layer.diff_id.hex() + ".chunk"));
    REQUIRE_FALSE(store.verified.layer(LayerKind::derived, other));
    REQUIRE_FALSE(store.verified.layer(LayerKind::chunk, store.layer.diff_id));
}

TEST_CASE("a record that others may write, that is a link or no file is absent until it is written again") {
    RecordsStore store;
    store.verified.add_layer(store.layer, store.commit, false);
    const auto elsewhere = store.directory() / "elsewhere";
    SECTION("writable") {
        fs::permissions(store.file(), fs::perms::group_write, fs::perm_options::add);
    }
    SECTION("a link") {
        fs::rename(store.file(), elsewhere);
        fs::create_symlink(elsewhere, store.file());
    }
    SECTION("another user's") {
        if (::geteuid() != 0) return;
        REQUIRE(::chown(store.file().c_str(), 1000, 1000) == 0);
    }
    REQUIRE_FALSE(store.known());
    store.verified.add_layer(store.layer, store.commit, false);
    REQUIRE(store.known());
}

TEST_CASE("records of commits that are gone and files that are no record are stale") {
    RecordsStore store;
    store.verified.add_layer(store.layer, store.commit, false);
    store.verified.add_image(digest("manifest"), sha256("merge"));
    std::ofstream(store.directory() / "garbage") << "x";
    std::ofstream(store.directory() / ".1-1") << "x";
    REQUIRE(store.verified.stale([&](const Checksum& commit) { return commit == store.commit; }).size() == 3);
    REQUIRE(store.verified.stale([](const Checksum&) { return false; }).size() == 4);
    REQUIRE(store.verified.stale([](const Checksum&) { return true; }).size() == 2);
}

TEST_CASE("several threads record at once") {
    RecordsStore store;
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i)
        threads.emplace_back([&] {
            for (int round = 0; round < 50; ++round) store.verified.add_layer(store.layer, store.commit, false);
        });
    for (auto& thread : threads) thread.join();
    REQUIRE(store.known());
    REQUIRE(std::distance(fs::directory_iterator(store.directory()), {}) == 1);
}
