// SPDX-License-Identifier: Apache-2.0
#include "layer/staging-area.hpp"

#include <atomic>
#include <set>
#include <thread>
#include <vector>

#include "catch.hpp"
#include "temporary-repository.hpp"

using namespace imaged;

// A build for ThreadSanitizer sees the race itself; others may be lucky.
TEST_CASE("layers that are imported side by side never get the same directory") {
    constexpr unsigned threads = 4, each = 500;
    TemporaryRepository temporary;
    std::vector<std::vector<std::shared_ptr<Scratch>>> made(threads);
    std::vector<std::vector<unsigned>> numbers(threads);
    const auto shared = temporary.staging.make_scratch();
    std::atomic<unsigned> refused = 0;
    {
        std::vector<std::jthread> workers;
        for (unsigned thread = 0; thread < threads; ++thread) {
            workers.emplace_back([&, thread] {
                for (unsigned i = 0; i < each; ++i) {
                    try {
                        made[thread].push_back(temporary.staging.make_scratch());
                        // As many descriptors as there may be are too few for all of them.
                        if (i % 10 != 0) made[thread].pop_back();
                        shared->make_directory(numbers[thread].emplace_back());
                    } catch (const std::exception&) {
                        ++refused;
                    }
                }
            });
        }
    }
    std::set<unsigned> all;
    for (const auto& mine : numbers) all.insert(mine.begin(), mine.end());
    CHECK(refused == 0);
    CHECK(all.size() == threads * each);
}
