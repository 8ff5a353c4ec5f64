// SPDX-License-Identifier: Apache-2.0
#include "store/objects/tree-walk.hpp"

#include <filesystem>
#include <set>
#include <vector>

#include "base/error.hpp"
#include "catch.hpp"
#include "image-builder.hpp"

using namespace imaged;

namespace {

struct Trees {
    TemporaryRepository home;
    ImageBuilder images{home};
    Cancellation cancellation;
    Repository::Commit commit;

    Trees() {
        commit.meta = put(ObjectType::dirmeta, serialise_dirmeta({0, 0, 040755, nullptr}));
        const auto text = images.file("text");
        const auto shared = put(ObjectType::dirtree, serialise_dirtree({{{"one", text}, {"two", text}}, {}}));
        const auto a = put(ObjectType::dirtree, serialise_dirtree({{}, {{"b", shared, commit.meta}}}));
        commit.tree = put(ObjectType::dirtree,
                          serialise_dirtree({{{"file", text}}, {{"a", a, commit.meta}, {"c", shared, commit.meta}}}));
    }

    Checksum put(ObjectType type, const std::string& bytes) {
        const auto sink = home.repository.make_sink(home.staging, home.pool);
        const auto checksum = sink->put_metadata(type, bytes);
        sink->publish();
        return checksum;
    }
    Checksum shared() { return read_directory(home.repository, commit.tree).directories.at(1).tree; }
    void lose(const Checksum& tree) { std::filesystem::remove(images.path_of(tree, "dirtree")); }
    void walk(const TreeVisitor& visitor) { walk_tree(home.repository, commit, cancellation, visitor); }
};

}  // namespace

TEST_CASE("a walk enters directories from above, in their order, and leaves them from below") {
    Trees trees;
    std::vector<std::string> steps;
    trees.walk({.enter =
                    [&](const TreePlace& place) {
                        steps.push_back(std::to_string(place.depth) + " /" + place.path);
                        return true;
                    },
                .list =
                    [&](const TreePlace& place, const DirectoryListing& listing) {
                        for (const auto& file : listing.files) steps.push_back("file /" + place.below(file.name));
                    },
                .leave = [&](const TreePlace& place) { steps.push_back("left /" + place.path); }});
    REQUIRE(steps == std::vector<std::string>{"0 /", "file /file", "1 /a", "2 /a/b", "file /a/b/one", "file /a/b/two",
                                              "left /a/b", "left /a", "1 /c", "file /c/one", "file /c/two", "left /c",
                                              "left /"});
}

TEST_CASE("a walk leaves out what it is not let into, and goes on beside it") {
    Trees trees;
    std::set<Checksum> seen;
    std::vector<std::string> listed, left;
    trees.walk({.enter = [&](const TreePlace& place) { return seen.insert(place.tree).second; },
                .list = [&](const TreePlace& place, const DirectoryListing&) { listed.push_back(place.path); },
                .leave = [&](const TreePlace& place) { left.push_back(place.path); }});
    REQUIRE(listed == std::vector<std::string>{"", "a", "a/b"});
    REQUIRE(left == std::vector<std::string>{"a/b", "a", ""});
}

TEST_CASE("a directory that is missing ends a walk, or is handed to who asked for such") {
    Trees trees;
    const auto lost = trees.shared();
    trees.lose(lost);
    REQUIRE_THROWS_WITH(trees.walk({}), "object " + lost.hex() + ".dirtree is missing");
    std::vector<std::string> unreadable, listed;
    trees.walk({.list = [&](const TreePlace& place, const DirectoryListing&) { listed.push_back(place.path); },
                .unreadable =
                    [&](const TreePlace& place, const Error& error) {
                        REQUIRE(error.kind() == ErrorKind::repository_damaged);
                        unreadable.push_back(place.path);
                    }});
    REQUIRE(unreadable == std::vector<std::string>{"a/b", "c"});
    REQUIRE(listed == std::vector<std::string>{"", "a"});
}

TEST_CASE("bytes that are no directory are unreadable like a missing one") {
    Trees trees;
    std::vector<std::string> unreadable;
    walk_tree([](const Checksum&) { return std::string("x"); }, trees.commit.tree, trees.commit.meta,
              {.unreadable = [&](const TreePlace&, const Error& error) { unreadable.push_back(error.what()); }});
    REQUIRE(unreadable.size() == 1);
}

TEST_CASE("what a walk's user throws is its user's, and cancelling is nothing that cannot be read") {
    Trees trees;
    const auto never = [](const TreePlace&, const Error&) { FAIL("told as unreadable"); };
    REQUIRE_THROWS_WITH(trees.walk({.list = [](const TreePlace&, const DirectoryListing&) -> void {
                                        throw Error(ErrorKind::repository_damaged, "mine");
                                    },
                                    .unreadable = never}),
                        "mine");
    trees.cancellation.request();
    REQUIRE_THROWS_AS(trees.walk({.unreadable = never}), Error);
}

TEST_CASE("a walk goes as deep as the tree") {
    Trees trees;
    constexpr std::size_t levels = 100'000;
    const auto bytes = serialise_dirtree({{}, {{"d", trees.commit.tree, trees.commit.meta}}});
    std::size_t deepest = 0;
    walk_tree([&](const Checksum&) { return bytes; }, trees.commit.tree, trees.commit.meta,
              {.enter = [&](const TreePlace& place) {
                  deepest = place.depth;
                  return place.depth < levels;
              }});
    REQUIRE(deepest == levels);
}

TEST_CASE("a text is read by its path in a tree") {
    Trees trees;
    const auto read = [&](const std::string& path) {
        return read_text(trees.home.repository, trees.commit.tree, path, 4);
    };
    REQUIRE(read("file") == "text");
    REQUIRE(read("a/b/two") == "text");
    REQUIRE_FALSE(read_text(trees.home.repository, trees.commit.tree, "file", 3));
    for (const auto* path : {"a", "a/b", "nothing", "file/x", "a/nothing/x"}) REQUIRE_FALSE(read(path));
    trees.lose(trees.shared());
    REQUIRE_FALSE(read("a/b/two"));
}

TEST_CASE("an object that must be there is named when it is not") {
    Trees trees;
    const Checksum none = sha256("none");
    REQUIRE_THROWS_WITH(trees.home.repository.require_metadata(ObjectType::dirmeta, none),
                        "object " + none.hex() + ".dirmeta is missing");
    REQUIRE(trees.home.repository.require_metadata(ObjectType::dirmeta, trees.commit.meta) ==
            serialise_dirmeta({0, 0, 040755, nullptr}));
}
