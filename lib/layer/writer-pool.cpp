// SPDX-License-Identifier: Apache-2.0
#include "layer/writer-pool.hpp"

namespace imaged {

WriterPool::WriterPool(unsigned threads) {
    for (unsigned i = 0; i < threads; ++i) {
        threads_.emplace_back([this] {
            while (auto task = queue_.pop()) (*task)();
        });
    }
}

WriterPool::~WriterPool() {
    queue_.close();
    for (auto& thread : threads_) thread.join();
}

}  // namespace imaged
