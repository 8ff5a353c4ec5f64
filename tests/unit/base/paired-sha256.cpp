// SPDX-License-Identifier: Apache-2.0
#include "base/paired-sha256.hpp"

#include <time.h>

#include <random>
#include <sstream>
#include <vector>

#include "catch.hpp"

using namespace imaged;

namespace {

std::vector<std::byte> random_bytes(std::mt19937& random, std::size_t size) {
    std::vector<std::byte> bytes(size);
    for (auto& byte : bytes) byte = static_cast<std::byte>(random());
    return bytes;
}

}  // namespace

TEST_CASE("the pair's hash is the standard's") {
    PairedSha256 hash;
    CHECK(hash.finish().hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    // The examples of NIST for FIPS 180-4.
    hash.update("abc");
    CHECK(hash.finish().hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    hash.update("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq");
    CHECK(hash.finish().hex() == "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

TEST_CASE("a message of any length has OpenSSL's hash") {
    std::mt19937 random(1);
    PairedSha256 hash;
    for (std::size_t size = 0; size < 300; ++size) {
        const auto bytes = random_bytes(random, size);
        hash.update(bytes);
        INFO(size);
        CHECK(hash.finish() == sha256(bytes));
    }
}

TEST_CASE("two messages in pieces of any size have OpenSSL's hashes") {
    std::mt19937 random(2);
    const auto pick = [&](std::size_t most) { return std::uniform_int_distribution<std::size_t>(0, most)(random); };
    for (unsigned round = 0; round < 300; ++round) {
        const auto first = random_bytes(random, pick(3000)), second = random_bytes(random, pick(3000));
        PairedSha256 first_hash, second_hash;
        std::span<const std::byte> first_left = first, second_left = second;
        while (!first_left.empty() || !second_left.empty()) {
            const auto a = std::min(first_left.size(), pick(700)), b = std::min(second_left.size(), pick(700));
            PairedSha256::update_both(first_hash, first_left.first(a), second_hash, second_left.first(b));
            first_left = first_left.subspan(a);
            second_left = second_left.subspan(b);
        }
        INFO(round);
        CHECK(first_hash.finish() == sha256(first));
        CHECK(second_hash.finish() == sha256(second));
    }
}

// Prints bytes per second of processor time: build/tests/unit/unit-base "[speed]"
TEST_CASE("the speed of two messages at a time, and of one after the other", "[.][speed]") {
    const auto seconds = [] {
        timespec now{};
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
        return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
    };
    std::mt19937 random(3);
    const auto first = random_bytes(random, 1 << 20), second = random_bytes(random, 1 << 20);
    // Alternately, so that what slows one slows the other.
    double together = 0, apart = 0;
    constexpr unsigned rounds = 1000;
    for (unsigned round = 0; round < rounds; ++round) {
        auto begin = seconds();
        PairedSha256 a, b;
        PairedSha256::update_both(a, first, b, second);
        const auto pair = a.finish();
        together += seconds() - begin;
        begin = seconds();
        const auto single = sha256(first);
        sha256(second);
        apart += seconds() - begin;
        REQUIRE(pair == single);
    }
    std::ostringstream text;
    text << "both at a time " << 2e-9 * rounds * (1 << 20) / together << " GB/s, OpenSSL one after the other "
         << 2e-9 * rounds * (1 << 20) / apart << " GB/s";
    WARN(text.str());
}
