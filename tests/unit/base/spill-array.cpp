// SPDX-License-Identifier: Apache-2.0
#include "base/spill-array.hpp"

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <string>

#include "catch.hpp"

using namespace imaged;

namespace {

constexpr std::size_t many = 4'000'000;  // 32 MB

std::size_t resident_kib() {
    std::ifstream status("/proc/self/status");
    std::string word;
    while (status >> word) {
        std::size_t value = 0;
        if (word == "VmRSS:" && status >> value) return value;
    }
    return 0;
}

}  // namespace

TEST_CASE("a spill array gives back what was put into it") {
    SpillArray<std::uint64_t> array(many);
    for (std::uint64_t i = 0; i < many; ++i) array.push_back(i * i);
    REQUIRE(array.size() == many);
    std::size_t wrong = 0;
    for (std::uint64_t i = 0; i < many; ++i) wrong += array[i] != i * i ? 1 : 0;
    CHECK(wrong == 0);
}

TEST_CASE("elements of a spill array never move, and changes to them last") {
    SpillArray<std::uint64_t> array(many);
    array.push_back(1);
    auto& first = array[0];
    for (std::uint64_t i = 1; i < many; ++i) array.push_back(i);
    CHECK(&first == &array[0]);
    first = 42;
    CHECK(array[0] == 42);
}

TEST_CASE("a large spill array takes no memory") {
    SpillArray<std::uint64_t> array(many);
    [[maybe_unused]] const auto before = resident_kib();
    for (std::uint64_t i = 0; i < many; ++i) array.push_back(i);
    // Far from each other, each page of it.
    constexpr std::size_t step = 4096 / sizeof(std::uint64_t), distance = 997;
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < many / step; ++i) sum += array[i * distance % (many / step) * step];
    CHECK(sum > 0);
#ifndef __SANITIZE_THREAD__  // whose shadow of the array stays
    // A third of what it holds.
    CHECK(resident_kib() < before + 10 * 1024);
#endif
}

TEST_CASE("a spill array works without a place for temporary files") {
    const char* set = std::getenv("TMPDIR");
    const std::string before = set == nullptr ? "" : set;
    ::setenv("TMPDIR", "/nonexistent", 1);
    SpillArray<std::uint64_t> array(many);
    for (std::uint64_t i = 0; i < many; ++i) array.push_back(i);
    CHECK(array[many - 1] == many - 1);
    if (set == nullptr) {
        ::unsetenv("TMPDIR");
    } else {
        ::setenv("TMPDIR", before.c_str(), 1);
    }
}
