// SPDX-License-Identifier: Apache-2.0
#include "base/tree-path.hpp"

#include <map>
#include <set>

#include "catch.hpp"

using namespace imaged;

namespace {

// Links by their paths; all else is there as soon as it is a directory of what is named here.
struct Links {
    std::map<std::string, std::string> targets;
    std::set<std::string> asked = {};

    Path resolve(const std::string& path, bool follow_last = false) {
        return resolve_path(
            split_path(path), std::string(),
            [&](const std::string& directory, const Path& place, const std::string& name, bool is_last) {
                const auto here = place.empty() ? name : join_path(place) + "/" + name;
                CHECK(directory == (place.empty() ? "" : join_path(place)));
                asked.insert(here);
                PathStep<std::string> step{here};
                const auto found = targets.find(here);
                if (found != targets.end() && (follow_last || !is_last)) step.target = found->second;
                return step;
            });
    }
};

}  // namespace

TEST_CASE("a path is its names, whatever stands between them") {
    REQUIRE(split_path("usr/lib/x") == Path{"usr", "lib", "x"});
    REQUIRE(split_path("//usr/./lib//x/") == Path{"usr", "lib", "x"});
    REQUIRE(split_path("../a/..") == Path{"..", "a", ".."});
    for (const auto* root : {"", ".", "/", "./."}) REQUIRE(split_path(root).empty());
    REQUIRE(join_path({"usr", "lib"}) == "usr/lib");
    REQUIRE(join_path({}) == ".");
    REQUIRE(split_path(join_path({})).empty());
}

TEST_CASE("links on the way are followed, the last one if that is asked for") {
    Links links{{{"lib", "usr/lib"}, {"usr/lib/up", "../../etc/./x"}, {"usr/abs", "/var"}, {"etc/x", "y"}}};
    REQUIRE(join_path(links.resolve("lib/file")) == "usr/lib/file");
    REQUIRE(join_path(links.resolve("lib/up/z")) == "etc/y/z");
    REQUIRE(join_path(links.resolve("usr/abs/log")) == "var/log");
    REQUIRE(join_path(links.resolve("lib")) == "lib");
    REQUIRE(join_path(links.resolve("lib", true)) == "usr/lib");
}

TEST_CASE("above the root is the root") {
    Links links{{{"a/b", "../../../../c"}}};
    REQUIRE(join_path(links.resolve("a/b/d")) == "c/d");
    REQUIRE(links.resolve("a/b/..").empty());
    REQUIRE(links.resolve("a/b", true) == Path{"c"});
}

TEST_CASE("a loop of links is an error, and so is a path that they make too deep") {
    Links loop{{{"a", "b"}, {"b", "a"}}};
    REQUIRE_THROWS_WITH(loop.resolve("a/x"), "too many symbolic links on the way to \"a/x\"");
    std::string deep;
    for (std::size_t i = 0; i < max_path_depth; ++i) deep += "/d";
    Links links{{{"a", deep}}};
    REQUIRE(links.resolve("a", true).size() == max_path_depth);
    REQUIRE_THROWS_AS(links.resolve("a/x"), Error);
    // As many as are allowed.
    Links chain;
    for (unsigned i = 0; i < max_path_links; ++i) chain.targets["l" + std::to_string(i)] = "l" + std::to_string(i + 1);
    REQUIRE(join_path(chain.resolve("l0/x")) == "l" + std::to_string(max_path_links) + "/x");
}
