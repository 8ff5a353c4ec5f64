// SPDX-License-Identifier: Apache-2.0
#include "store/records/layer-names.hpp"

#include <filesystem>
#include <fstream>

#include "catch.hpp"
#include "checksum-of.hpp"
#include "store/files/ref-name.hpp"
#include "temporary-repository.hpp"

using namespace imaged;
namespace fs = std::filesystem;

TEST_CASE("the names of layers' refs are known, whatever the refs name") {
    const TemporaryRepository home;
    LayerNames names(home.repository.fd(), layer_ref_directory);
    const auto first = checksum_of('1'), second = checksum_of('2');
    const auto path = [&](const Checksum& blob) {
        return fs::path(home.path) / "refs/heads" / layer_ref(Digest(blob));
    };
    CHECK_FALSE(names.contains(first));
    names.refresh();
    CHECK_FALSE(names.contains(first));
    fs::create_directories(path(first).parent_path());
    std::ofstream(path(first)) << "nonsense";
    CHECK(names.refresh());
    CHECK_FALSE(names.lost_any());
    CHECK(names.contains(first));
    CHECK_FALSE(names.contains(second));
    // At once after the first: the directory's time may be the same.
    fs::create_symlink("nowhere", path(second));
    CHECK(names.refresh());
    CHECK(names.contains(first));
    CHECK(names.contains(second));
    CHECK_FALSE(names.lost_any());
    // No refs of layers.
    std::ofstream(path(first).parent_path() / "tmp.1234");
    std::ofstream(path(first).parent_path() / "sha256_3A_12");
    fs::create_directory(path(checksum_of('3')));
    CHECK_FALSE(names.refresh());
    CHECK_FALSE(names.contains(checksum_of('3')));
    fs::remove(path(first));
    CHECK(names.refresh());
    CHECK(names.lost_any());
    CHECK_FALSE(names.contains(first));
    CHECK(names.contains(second));
    fs::remove_all(path(first).parent_path());
    CHECK(names.refresh());
    CHECK(names.lost_any());
    CHECK_FALSE(names.contains(second));
    CHECK_FALSE(names.refresh());
    CHECK_FALSE(names.lost_any());
}
