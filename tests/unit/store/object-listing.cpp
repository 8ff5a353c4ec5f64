// SPDX-License-Identifier: Apache-2.0
#include "store/objects/object-listing.hpp"

#include <array>
#include <atomic>

#include "base/error.hpp"
#include "catch.hpp"

using namespace imaged;

TEST_CASE("each object directory is worked on once, by however many threads") {
    for (const unsigned threads : {1U, 4U}) {
        std::array<std::atomic<int>, object_directories> visits{};
        for_each_object_directory(threads, [&](unsigned directory) { ++visits.at(directory); });
        for (const auto& count : visits) CHECK(count == 1);
    }
}

TEST_CASE("what the work on an object directory throws ends it all, and reaches the caller") {
    std::atomic<unsigned> begun = 0;
    const auto work = [&](unsigned directory) {
        ++begun;
        if (directory == 3) throw Error(ErrorKind::failed, "three");
    };
    CHECK_THROWS_WITH(for_each_object_directory(4, work), "three");
    CHECK(begun <= object_directories);
}
