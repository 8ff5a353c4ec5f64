// SPDX-License-Identifier: Apache-2.0
#include "layer/layer-tree.hpp"

#include "base/error.hpp"
#include "catch.hpp"

using namespace imaged;

TEST_CASE("a path that is a file and a directory in turn costs no more with each turn") {
    // Quadratic, this takes minutes.
    LayerTree tree;
    for (unsigned i = 0; i < 300'000; ++i) {
        tree.put_file({"x"}, Checksum{});
        tree.put_directory({"x"}, Checksum{});
    }
    REQUIRE(tree.find({"x"}));
    CHECK(tree.find({"x"})->directory);
}

TEST_CASE("what was removed is gone until it is put again") {
    LayerTree tree;
    tree.put_file({"d", "x"}, Checksum{});
    tree.remove({"d"});
    CHECK_FALSE(tree.find({"d", "x"}));
    tree.put_file({"d", "y"}, Checksum{});
    CHECK_FALSE(tree.find({"d", "x"}));
    CHECK(tree.find({"d", "y"}));
}

TEST_CASE("the number of entries has a limit") {
    LayerTree tree;
    REQUIRE_THROWS_AS(
        [&] {
            for (std::size_t i = 0; i <= max_tree_nodes; ++i) tree.put_file({std::to_string(i)}, Checksum{});
        }(),
        Error);
    CHECK(tree.entries() == max_tree_nodes);
}
