// SPDX-License-Identifier: Apache-2.0
#include "ui/transfer-rate.hpp"

#include "catch.hpp"

using namespace imagectl;

TEST_CASE("a steady transfer has its rate and its end") {
    TransferRate rate;
    for (int i = 0; i <= 20; i++) rate.add(i * 100'000, static_cast<std::uint64_t>(i) * 100);
    CHECK(*rate.rate(2'000'000) == Approx(1000));
    CHECK(*rate.remaining(2'000'000, 2000, 12'000) == Approx(10));
}

TEST_CASE("nothing is said before half a second, at the end, or of a stall") {
    TransferRate rate;
    CHECK(!rate.rate(0));
    rate.add(0, 0);
    rate.add(400'000, 100);
    CHECK(!rate.rate(400'000));
    CHECK(!rate.remaining(1'000'000, 100, 100));
    TransferRate stalled;
    stalled.add(0, 5);
    stalled.add(10'000'000, 5);
    CHECK(!stalled.remaining(10'000'000, 5, 10));
}

TEST_CASE("only the last seconds count, and a count that falls starts again") {
    TransferRate rate;
    for (int i = 0; i <= 100; i++) rate.add(i * 100'000, i < 50 ? 0 : static_cast<std::uint64_t>(i - 50) * 100);
    CHECK(*rate.rate(10'000'000) == Approx(1000).epsilon(0.05));
    rate.add(10'100'000, 0);
    CHECK(!rate.rate(10'200'000));
}
