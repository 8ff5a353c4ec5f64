// SPDX-License-Identifier: Apache-2.0
#include "layer/byte-source.hpp"

#include <array>
#include <chrono>
#include <thread>
#include <vector>

#include "base/error.hpp"
#include "base/file-descriptor.hpp"
#include "catch.hpp"

namespace {

using namespace imaged;
using namespace std::chrono_literals;

constexpr std::uint64_t slow_rate = 40'000;

// A pipe that holds BYTES and has ended.
FileDescriptor pipe_with(std::size_t bytes) {
    auto [ours, theirs] = make_pipe();
    const std::vector<std::byte> content(bytes);
    write_all(theirs.get(), content, "fill a pipe");
    return std::move(ours);
}

auto now() {
    return std::chrono::steady_clock::now();
}

}  // namespace

TEST_CASE("a source with a rate gives no more than that") {
    const auto pipe = pipe_with(20'000);
    const Cancellation cancellation;
    RateLimit rate(slow_rate);
    // Waiting for the rate is no stall of the source.
    DescriptorSource source(pipe.get(), cancellation, {.stall_time = 100ms, .rate = &rate});
    std::array<std::byte, 30'000> buffer;
    const auto began = now();
    CHECK(source.read(buffer) == 20'000);
    CHECK(now() - began >= 390ms);
}

TEST_CASE("two sources share a rate") {
    const auto one = pipe_with(10'000), other = pipe_with(10'000);
    const Cancellation cancellation;
    RateLimit rate(slow_rate);
    const auto read = [&](int fd) {
        DescriptorSource source(fd, cancellation, {.stall_time = 10s, .rate = &rate});
        std::array<std::byte, 20'000> buffer;
        return source.read(buffer);
    };
    const auto began = now();
    std::thread beside([&] { read(one.get()); });
    read(other.get());
    beside.join();
    CHECK(now() - began >= 390ms);
}

TEST_CASE("what is taken out counts towards the rate and is not given to the reader") {
    const auto pipe = pipe_with(20'000);
    const Cancellation cancellation;
    RateLimit rate(slow_rate);
    std::size_t told = 0;
    const auto every_other = [&](std::span<std::byte> bytes) {
        told += bytes.size();
        return bytes.size() / 2;
    };
    DescriptorSource source(
        pipe.get(), cancellation,
        {.stall_time = 100ms, .taken = every_other, .expected_bytes = 10'000, .least_bytes = 20'000, .rate = &rate});
    std::array<std::byte, 30'000> buffer;
    const auto began = now();
    const auto count = source.read(buffer);
    CHECK(count <= 10'000);
    CHECK((source.total() == count && told == 20'000));
    CHECK(now() - began >= 390ms);
}

TEST_CASE("a source that waits for its rate hears of a cancellation") {
    const auto pipe = pipe_with(20'000);
    Cancellation cancellation;
    RateLimit rate(1);
    DescriptorSource source(pipe.get(), cancellation, {.stall_time = 10s, .rate = &rate});
    std::thread canceller([&] {
        std::this_thread::sleep_for(100ms);
        cancellation.request();
    });
    std::array<std::byte, 20'000> buffer;
    const auto began = now();
    CHECK_THROWS_AS(source.read(buffer), Error);
    CHECK(now() - began < 5s);
    canceller.join();
}
