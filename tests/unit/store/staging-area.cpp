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
    std::vector<std::vector<std::string>> names(threads);
    std::atomic<unsigned> refused = 0;
    {
        std::vector<std::jthread> workers;
        for (auto& mine : names) {
            workers.emplace_back([&] {
                for (unsigned i = 0; i < each; ++i) {
                    try {
                        temporary.staging.make_directory(mine.emplace_back());
                    } catch (const std::exception&) {
                        ++refused;
                    }
                }
            });
        }
    }
    std::set<std::string> all;
    for (const auto& mine : names) all.insert(mine.begin(), mine.end());
    CHECK(refused == 0);
    CHECK(all.size() == threads * each);
}
