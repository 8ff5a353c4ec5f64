// SPDX-License-Identifier: Apache-2.0
// Starts threads that share work.
#pragma once

#include <functional>
#include <system_error>
#include <thread>
#include <vector>

namespace imaged {

// Starts COUNT threads that run WORK, or fewer if the system allows no more. The threads are joined when the result is
// destroyed. Throws std::system_error if it allows none and NEEDS_ONE.
inline std::vector<std::jthread> start_threads(unsigned count, bool needs_one, const std::function<void()>& work) {
    std::vector<std::jthread> threads;
    threads.reserve(count);
    try {
        while (threads.size() < count) threads.emplace_back(work);
    } catch (const std::system_error&) {
        if (needs_one && threads.empty()) throw;
    }
    return threads;
}

}  // namespace imaged
