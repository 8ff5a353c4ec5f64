// SPDX-License-Identifier: Apache-2.0
#include "layer/expansion-limit.hpp"

#include "base/error.hpp"
#include "catch.hpp"

using namespace imaged;

namespace {

constexpr ExpansionLimits small{1000, 1500, 10, 100};

ErrorKind kind_of(const std::function<void()>& function) {
    try {
        function();
    } catch (const Error& error) {
        return error.kind();
    }
    FAIL("nothing was thrown");
    return ErrorKind::failed;
}

}  // namespace

TEST_CASE("a layer may grow by the ratio, and freely at first") {
    std::atomic<std::uint64_t> image = 0;
    ExpansionLimit limit(small, image, {});
    limit.grow(100);
    limit.read(5);
    limit.grow(50);
    CHECK(kind_of([&] { limit.grow(20); }) == ErrorKind::unsupported_image);
}

TEST_CASE("what takes no room does not count in the ratio, and has a limit of its own") {
    std::atomic<std::uint64_t> image = 0;
    auto limits = small;
    limits.hole_bytes = 500;
    ExpansionLimit limit(limits, image, {});
    limit.grow(100);
    limit.leave_out(100);
    limit.read(5);
    limit.grow(150);
    CHECK(kind_of([&] { limit.grow(20); }) == ErrorKind::unsupported_image);
    limit.leave_out(400);
    CHECK(kind_of([&] { limit.leave_out(1); }) == ErrorKind::unsupported_image);
}

TEST_CASE("files that are there already may be as large as those of layers") {
    constexpr std::uint64_t gib = 1ULL << 30;
    require_possible_size(512 * gib, 2 * gib, max_layer_bytes);
    require_possible_size(17 * gib, 0, max_layer_bytes);
    CHECK(kind_of([&] { require_possible_size(512 * gib + 1, 512 * gib, max_layer_bytes); }) ==
          ErrorKind::unsupported_image);
    CHECK(kind_of([&] { require_possible_size(18 * gib, 0, max_layer_bytes); }) == ErrorKind::unsupported_image);
    CHECK(kind_of([&] { require_possible_size(512 * gib, gib, max_layer_bytes); }) == ErrorKind::unsupported_image);
    CHECK(kind_of([&] { require_possible_size(1025 * gib, 1025 * gib, max_image_bytes); }) ==
          ErrorKind::unsupported_image);
}

TEST_CASE("a layer's limit holds whatever its compressed size is") {
    std::atomic<std::uint64_t> image = 0;
    ExpansionLimit limit(small, image, {});
    limit.read(1'000'000);
    limit.grow(1000);
    CHECK(kind_of([&] { limit.grow(1); }) == ErrorKind::unsupported_image);
}

TEST_CASE("an image's limit counts all of its layers") {
    std::atomic<std::uint64_t> image = 0;
    ExpansionLimit first(small, image, {}), second(small, image, {});
    first.read(1000);
    second.read(1000);
    first.grow(900);
    second.grow(600);
    CHECK(kind_of([&] { second.grow(1); }) == ErrorKind::unsupported_image);
}

TEST_CASE("free space is looked at while a layer grows") {
    std::atomic<std::uint64_t> image = 0;
    unsigned checks = 0;
    ExpansionLimit limit({}, image, [&] {
        if (++checks == 3) throw Error(ErrorKind::no_space, "full");
    });
    CHECK(kind_of([&] {
              for (unsigned i = 0; i < 1024; ++i) limit.grow(1024 * 1024);
          }) == ErrorKind::no_space);
}

TEST_CASE("a layer that was forgotten is counted from the beginning") {
    std::atomic<std::uint64_t> image = 0;
    auto limits = small;
    limits.hole_bytes = 500;
    ExpansionLimit limit(limits, image, {});
    limit.read(50);
    limit.grow(600);
    limit.leave_out(400);
    limit.forget();
    CHECK(image == 0);
    limit.grow(100);
    limit.leave_out(0);
    limit.check_hole(500);
    CHECK(kind_of([&] { limit.grow(20); }) == ErrorKind::unsupported_image);
}
