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
    CHECK(rate.take(600, now) == now + 500ms);
    CHECK(rate.take(500, now) == now + 1s);
    CHECK(rate.take(1000, now + 200ms) == now + 2s);
}

TEST_CASE("readers that are late keep up with the rate") {
    RateLimit rate(1000);
    auto free = rate.take(200, RateLimit::Clock::now());
    const auto first = free;
    for (int i = 0; i < 50; ++i) free = rate.take(100, free + 30ms);
    CHECK(free == first + 5s);
}

TEST_CASE("of the time in which nobody read, no more than a tenth of a second is made up for") {
    RateLimit rate(1000);
    const auto now = RateLimit::Clock::now();
    CHECK(rate.take(200, now) == now + 100ms);
    CHECK(rate.take(200, now + 10s) == now + 10s + 100ms);
}

TEST_CASE("a reader waits often and not long") {
    CHECK(RateLimit(10'000'000).piece() == 1'000'000);
    CHECK(RateLimit(1).piece() == 1024);
    CHECK(RateLimit(UINT64_MAX).piece() == 16 << 20);
}
