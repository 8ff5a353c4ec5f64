// SPDX-License-Identifier: Apache-2.0
#include "base/file-descriptor.hpp"

#include <fcntl.h>

#include <filesystem>

#include "base/error.hpp"
#include "base/scratch-directory.hpp"
#include "catch.hpp"

using namespace imaged;

TEST_CASE("a path that cannot be looked at does not lead elsewhere") {
    const ScratchDirectory home;
    const auto path = home.path().string();
    const auto opened = open_at(AT_FDCWD, path, O_RDONLY | O_DIRECTORY);
    REQUIRE(leads_to(AT_FDCWD, path, opened.get()));
    REQUIRE(!leads_to(AT_FDCWD, path + "/missing", opened.get()));
    REQUIRE(!leads_to(AT_FDCWD, "/", opened.get()));
    std::filesystem::create_symlink("loop", home.path() / "loop");
    REQUIRE(!leads_to(AT_FDCWD, path + "/loop", opened.get()));
    REQUIRE_THROWS_AS(leads_to(AT_FDCWD, path + "/" + std::string(300, 'x'), opened.get()), Error);
}
