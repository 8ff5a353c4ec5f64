// SPDX-License-Identifier: Apache-2.0
// A queue between threads with a limit: a fast producer waits for a slow consumer. Each item counts 1 or its given
// weight; an item heavier than the limit is taken when the queue is empty.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <optional>
#include <utility>

namespace imaged {

// Any number of producers and consumers. close() ends it: push() is refused from then on, pop() gives what is left and
// then nothing.
template <typename T>
class BoundedQueue {
public:
    explicit BoundedQueue(std::size_t capacity) : capacity_(capacity) {}

    // Waits for room. False when the queue is closed; the item is dropped then.
    bool push(T item, std::size_t weight = 1) {
        {
            std::unique_lock lock(mutex_);
            room_.wait(lock, [&] { return items_.empty() || weight_ + weight <= capacity_ || closed_; });
            if (closed_) return false;
            items_.emplace_back(std::move(item), weight);
            weight_ += weight;
        }
        filled_.notify_one();
        return true;
    }

    // Waits for an item. Nothing when the queue is closed and empty.
    std::optional<T> pop() {
        std::unique_lock lock(mutex_);
        filled_.wait(lock, [&] { return !items_.empty() || closed_; });
        if (items_.empty()) return std::nullopt;
        std::optional<T> item(std::move(items_.front().first));
        weight_ -= items_.front().second;
        items_.pop_front();
        lock.unlock();
        // All: what one producer has may be too heavy still, and another's may fit.
        room_.notify_all();
        return item;
    }

    void close() {
        const std::lock_guard lock(mutex_);
        closed_ = true;
        room_.notify_all();
        filled_.notify_all();
    }

private:
    const std::size_t capacity_;
    std::mutex mutex_;
    std::condition_variable room_, filled_;
    std::deque<std::pair<T, std::size_t>> items_;
    std::size_t weight_ = 0;
    bool closed_ = false;
};

}  // namespace imaged
