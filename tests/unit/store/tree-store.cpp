// SPDX-License-Identifier: Apache-2.0
#include "store/tree/tree-store.hpp"

#include <vector>

#include "catch.hpp"
#include "checksum-of.hpp"
#include "temporary-repository.hpp"

using namespace imaged;

namespace {

struct EditedTrees {
    TemporaryRepository home;
    const std::unique_ptr<ObjectSink> sink = home.repository.make_sink(home.staging, home.pool);
    TreeStore store{*sink};

    // One with COUNT files.
    TreeEntry directory(int count) {
        Directory files;
        for (int i = 0; i < count; ++i)
            files["a file with a long name " + std::to_string(i)] = {false, checksum_of('f'), {}};
        return {true, store.store(files), store.default_meta()};
    }
    std::uint64_t written() const { return sink->counts().objects_written; }
};

}  // namespace

TEST_CASE("of many versions of a tree only the last is written") {
    EditedTrees trees;
    const auto before = trees.written();
    auto root = trees.store.empty_directory();
    constexpr int versions = 600, places = 60;
    for (int i = 0; i < versions; ++i) {
        root = trees.store.replace(root, {"usr", std::to_string(i % places), "sub"}, trees.directory(i));
        trees.store.retain(std::vector{root});
    }
    trees.store.finish(root);
    // The root, /usr, and two directories for each place.
    CHECK(trees.written() - before == 2 + 2 * places);
    CHECK(trees.store.count(*trees.store.find(root, {"usr", "59", "sub"})) == 1 + versions - 1);
}

TEST_CASE("trees that are still needed stay, whether they were written meanwhile or not") {
    EditedTrees trees;
    auto root = trees.store.replace(trees.store.empty_directory(), {"base"}, trees.directory(100));
    const auto base = root;
    for (int i = 0; i < 200; ++i) {
        // More than stays in memory.
        root = trees.store.replace(root, {"large"}, trees.directory(1000 + i));
        root = trees.store.replace(root, {"all", std::to_string(i)}, trees.directory(1000 + i));
        trees.store.retain(std::vector{root, base});
    }
    CHECK(trees.store.count(base) == 2 + 100);
    trees.store.finish(root);
    CHECK(trees.store.count(root) == 1 + 1 + 100 + 1 + 1199 + 1 + 200 * 1001 + 199 * 200 / 2);
    for (const auto& path : std::vector<Path>{{"base"}, {"large"}, {"all", "0"}, {"all", "199"}}) {
        const auto found = trees.store.find(root, path);
        REQUIRE(found);
        CHECK_NOTHROW(trees.sink->read_metadata(ObjectType::dirtree, found->object));
    }
}
