// SPDX-License-Identifier: Apache-2.0
#include "base/rate-limit.hpp"

#include "catch.hpp"

namespace {

using namespace imaged;
using namespace std::chrono_literals;

}  // namespace

TEST_CASE("readers share the bytes of a second") {
    RateLimit rate(1000);
    const auto now = RateLimit::Clock::now();
    CHECK(rate.take(500, now) == now + 500ms);
    CHECK(rate.take(500, now) == now + 1s);
    CHECK(rate.take(1000, now + 200ms) == now + 2s);
}

TEST_CASE("time in which nobody read is not made up for") {
    RateLimit rate(1000);
    const auto now = RateLimit::Clock::now();
    CHECK(rate.take(100, now) == now + 100ms);
    CHECK(rate.take(100, now + 10s) == now + 10s + 100ms);
}

TEST_CASE("a reader waits often and not long") {
    CHECK(RateLimit(10'000'000).piece() == 1'000'000);
    CHECK(RateLimit(1).piece() == 1024);
    CHECK(RateLimit(UINT64_MAX).piece() == 16 << 20);
}
