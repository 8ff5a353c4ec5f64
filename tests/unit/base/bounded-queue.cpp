// SPDX-License-Identifier: Apache-2.0
#include "base/bounded-queue.hpp"

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "catch.hpp"

using namespace imaged;

namespace {

// Long enough for a thread that does not wait to have gone on.
constexpr auto a_while = std::chrono::milliseconds(50);

}  // namespace

TEST_CASE("a producer waits until what it brings fits") {
    BoundedQueue<int> queue(10);
    REQUIRE(queue.push(1, 6));
    std::atomic<bool> pushed = false;
    std::thread producer([&] {
        queue.push(2, 6);
        pushed = true;
    });
    std::this_thread::sleep_for(a_while);
    CHECK_FALSE(pushed);
    CHECK(queue.pop() == 1);
    CHECK(queue.pop() == 2);
    producer.join();
    CHECK(pushed);
}

TEST_CASE("an item heavier than the queue goes through it alone") {
    BoundedQueue<int> queue(10);
    REQUIRE(queue.push(1, 1000));
    std::thread producer([&] { queue.push(2); });
    CHECK(queue.pop() == 1);
    CHECK(queue.pop() == 2);
    producer.join();
}

TEST_CASE("a light item need not wait behind a heavy one that does not fit") {
    BoundedQueue<int> queue(10);
    REQUIRE(queue.push(1, 6));
    std::thread heavy([&] { queue.push(2, 6); });
    std::this_thread::sleep_for(a_while);
    CHECK(queue.push(3, 1));
    CHECK(queue.pop() == 1);
    heavy.join();
    CHECK(queue.pop() == 3);
    CHECK(queue.pop() == 2);
}

TEST_CASE("many producers and consumers lose nothing") {
    constexpr int producers = 4, items = 2000;
    BoundedQueue<int> queue(64);
    std::atomic<long> sum = 0;
    std::vector<std::thread> writers, readers;
    for (int p = 0; p < producers; ++p) {
        writers.emplace_back([&, p] {
            for (int i = 1; i <= items; ++i) queue.push(i, static_cast<std::size_t>((i + p) % 40));
        });
        readers.emplace_back([&] {
            while (const auto item = queue.pop()) sum += *item;
        });
    }
    for (auto& writer : writers) writer.join();
    queue.close();
    for (auto& reader : readers) reader.join();
    CHECK(sum == static_cast<long>(producers) * items * (items + 1) / 2);
}

TEST_CASE("a closed queue refuses what comes, and gives what is left") {
    BoundedQueue<int> queue(2);
    queue.push(1, 2);
    std::atomic<bool> refused = false;
    std::thread producer([&] { refused = !queue.push(2); });
    std::this_thread::sleep_for(a_while);
    queue.close();
    producer.join();
    CHECK(refused);
    CHECK(queue.pop() == 1);
    CHECK(queue.pop() == std::nullopt);
}
