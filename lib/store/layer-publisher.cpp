// SPDX-License-Identifier: Apache-2.0
#include "store/layer-publisher.hpp"

#include "store/commit-check.hpp"
#include "store/ref-name.hpp"

namespace imaged {

LayerPublisher::LayerPublisher(Repository& repository, std::function<void(const StagedLayer&, std::size_t)> published)
    : repository_(repository), published_(std::move(published)), thread_([this] { run(); }) {}

LayerPublisher::~LayerPublisher() {
    {
        const std::lock_guard lock(mutex_);
        ended_ = true;
        changed_.notify_all();
    }
    thread_.join();
}

void LayerPublisher::add(Item item) {
    const std::lock_guard lock(mutex_);
    if (failure_) std::rethrow_exception(failure_);
    items_.push_back(std::move(item));
    changed_.notify_all();
}

void LayerPublisher::wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return failure_ || (items_.empty() && !busy_); });
    if (failure_) std::rethrow_exception(failure_);
}

void LayerPublisher::run() {
    std::unique_lock lock(mutex_);
    for (;;) {
        changed_.wait(lock, [&] { return ended_ || !items_.empty(); });
        if (ended_ || failure_) return;
        auto batch = std::move(items_);
        items_.clear();
        busy_ = true;
        lock.unlock();
        std::exception_ptr failure;
        try {
            publish(batch);
        } catch (...) {
            failure = std::current_exception();
        }
        batch.clear();
        lock.lock();
        busy_ = false;
        failure_ = failure;
        changed_.notify_all();
    }
}

void LayerPublisher::publish(std::vector<Item>& batch) {
    repository_.sync();
    for (auto& item : batch) {
        // Before: a commit without its objects would be found damaged, whatever names it or does not.
        if (item.staged.foreign_commit) check_foreign_commit(*item.staged.sink, item.staged.commit);
        item.staged.sink->publish();
        if (item.staged.detached_metadata)
            repository_.write_detached_metadata(item.staged.commit, *item.staged.detached_metadata);
    }
    repository_.sync();
    for (auto& item : batch) {
        repository_.set_ref(layer_ref(item.digest), item.staged.commit);
        published_(item.staged, item.layer);
    }
}

}  // namespace imaged
