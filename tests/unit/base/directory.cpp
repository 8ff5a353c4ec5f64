// SPDX-License-Identifier: Apache-2.0
#include "base/directory.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "base/error.hpp"
#include "base/scratch-directory.hpp"
#include "catch.hpp"

using namespace imaged;
namespace fs = std::filesystem;

namespace {

FileDescriptor opened(const fs::path& path) {
    return try_open_at(AT_FDCWD, path.string(), O_RDONLY | O_DIRECTORY);
}

}  // namespace

TEST_CASE("a directory's entries are told with what they are, links as links") {
    const ScratchDirectory home;
    fs::create_directory(home.path() / "directory");
    std::ofstream(home.path() / ".file") << "x";
    fs::create_symlink("directory", home.path() / "link");
    std::map<std::string, std::string> found;
    visit_directory(opened(home.path()), "home", [&](const DirectoryEntry& entry) {
        struct stat status;
        REQUIRE(::fstatat(entry.directory, entry.name, &status, AT_SYMLINK_NOFOLLOW) == 0);
        found[entry.name] = entry.is_directory ? "directory" : entry.is_link ? "link" : "other";
    });
    REQUIRE(found ==
            std::map<std::string, std::string>{{".file", "other"}, {"directory", "directory"}, {"link", "link"}});
}

TEST_CASE("a directory that is not there has no entries, and a file is none") {
    const ScratchDirectory home;
    std::ofstream(home.path() / "file") << "x";
    visit_directory(opened(home.path() / "none"), "none", [](const DirectoryEntry&) { FAIL("an entry"); });
    REQUIRE_THROWS_AS(visit_directory(open_at(AT_FDCWD, (home.path() / "file").string(), O_RDONLY), "file",
                                      [](const DirectoryEntry&) { FAIL("an entry"); }),
                      Error);
}

TEST_CASE("what throws at an entry ends the visit") {
    const ScratchDirectory home;
    for (const auto* name : {"a", "b", "c"}) std::ofstream(home.path() / name) << "x";
    int visits = 0;
    REQUIRE_THROWS_WITH(visit_directory(opened(home.path()), "home",
                                        [&](const DirectoryEntry&) {
                                            ++visits;
                                            throw Error(ErrorKind::failed, "enough");
                                        }),
                        "enough");
    REQUIRE(visits == 1);
}

TEST_CASE("a tree is removed with all that is in it, and nothing that a link leads to") {
    const ScratchDirectory home;
    auto deep = home.path() / "tree";
    for (int i = 0; i < 300; ++i) deep /= "d";
    fs::create_directories(deep);
    std::ofstream(deep / "file") << "x";
    std::ofstream(home.path() / "kept") << "x";
    fs::create_symlink(home.path(), home.path() / "tree" / "link");
    remove_tree(AT_FDCWD, (home.path() / "tree").string());
    REQUIRE_FALSE(fs::exists(fs::symlink_status(home.path() / "tree")));
    REQUIRE(fs::exists(home.path() / "kept"));
    remove_tree(AT_FDCWD, (home.path() / "tree").string());
}
