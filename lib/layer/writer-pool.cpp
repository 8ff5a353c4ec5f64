// SPDX-License-Identifier: Apache-2.0
#include "layer/writer-pool.hpp"

#include <system_error>

namespace imaged {

WriterPool::WriterPool(unsigned threads) {
    try {
        while (threads_.size() < threads) {
            threads_.emplace_back([this] {
                while (auto task = queue_.pop()) (*task)();
            });
        }
    } catch (const std::system_error&) {
        // Fewer threads do the same.
        if (threads_.empty()) throw;
    }
}

WriterPool::~WriterPool() {
    queue_.close();
    for (auto& thread : threads_) thread.join();
}

}  // namespace imaged
