// SPDX-License-Identifier: Apache-2.0
#include "store/fetch/content-search.hpp"

#include <filesystem>
#include <fstream>

#include "base/file-descriptor.hpp"
#include "catch.hpp"
#include "layer/object-placement.hpp"
#include "temporary-repository.hpp"

using namespace imaged;

TEST_CASE("files of one size are found, however many objects have it", "[content-search]") {
    constexpr std::uint64_t size = 1'000'000;
    const TemporaryRepository home;
    std::vector<Checksum> objects;
    for (int i = 0; i < 300; ++i) {
        objects.push_back(sha256(std::to_string(i)));
        const auto path = std::filesystem::path(home.path) / "objects" / object_path(objects.back(), PlacedType::file);
        std::filesystem::create_directories(path.parent_path());
        std::ofstream(path).close();
        std::filesystem::resize_file(path, size);
    }
    const Cancellation cancellation;
    const ObjectSizes sizes(home.repository.objects(), cancellation);
    std::uint64_t reads = 0;
    const auto content = [](const Checksum& object) { return sha256(object.hex()); };
    ContentSearch search(
        [&]() -> const auto& { return sizes; },
        [&](const ObjectSizes::Object& object) {
            ++reads;
            return std::optional(content(object.checksum));
        });
    // 64 MiB may be read without any.
    for (int i = 0; i < 20; ++i) search.expect(size);
    for (int i = 0; i < 20; ++i)
        CHECK(search.find(size, content(objects[static_cast<std::size_t>(i)])) == objects[static_cast<std::size_t>(i)]);
    CHECK(reads <= objects.size());
    CHECK_FALSE(search.find(size, sha256("nowhere")));
    CHECK(reads <= objects.size());
}
