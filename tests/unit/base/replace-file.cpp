// SPDX-License-Identifier: Apache-2.0
#include "base/replace-file.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "base/error.hpp"
#include "base/file-descriptor.hpp"
#include "base/scratch-directory.hpp"
#include "catch.hpp"

using namespace imaged;
namespace fs = std::filesystem;

namespace {

struct Home : ScratchDirectory {
    FileDescriptor opened = open_at(AT_FDCWD, path().string(), O_RDONLY | O_DIRECTORY);

    std::string text(const std::string& name) const {
        std::ifstream file(path() / name);
        return {std::istreambuf_iterator<char>(file), {}};
    }
    std::ptrdiff_t entries() const { return std::distance(fs::directory_iterator(path()), {}); }
};

}  // namespace

TEST_CASE("a file is made or replaced, and nothing else stays beside it") {
    const Home home;
    for (const auto durability : {Durability::durable, Durability::later}) {
        replace_file(home.opened.get(), "file", "old text", durability);
        REQUIRE(home.text("file") == "old text");
        replace_file(home.opened.get(), "file", "new", durability);
        REQUIRE(home.text("file") == "new");
        replace_file(AT_FDCWD, (home.path() / "file").string(), "by path", durability);
        REQUIRE(home.text("file") == "by path");
        REQUIRE(home.entries() == 1);
    }
}

TEST_CASE("who has the old file open keeps its text") {
    const Home home;
    replace_file(home.opened.get(), "file", "old", Durability::later);
    const auto old = open_at(home.opened.get(), "file", O_RDONLY);
    replace_file(home.opened.get(), "file", "new", Durability::later);
    REQUIRE(read_all(old.get(), 16, "file") == "old");
}

TEST_CASE("a link is replaced, not followed, and what cannot be replaced stays") {
    const Home home;
    std::ofstream(home.path() / "target") << "kept";
    fs::create_symlink("target", home.path() / "link");
    replace_file(home.opened.get(), "link", "new", Durability::durable);
    REQUIRE(home.text("target") == "kept");
    REQUIRE(fs::is_regular_file(fs::symlink_status(home.path() / "link")));
    fs::create_directories(home.path() / "directory" / "inside");
    REQUIRE_THROWS_AS(replace_file(home.opened.get(), "directory", "new", Durability::later), Error);
    REQUIRE(fs::is_directory(home.path() / "directory" / "inside"));
    REQUIRE(home.entries() == 3);
}
