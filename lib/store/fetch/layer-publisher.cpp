// SPDX-License-Identifier: Apache-2.0
#include "store/fetch/layer-publisher.hpp"

#include "base/error.hpp"
#include "store/records/layer-ref.hpp"
#include "store/repository/detached-metadata.hpp"
#include "store/tree/commit-check.hpp"

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
    std::vector<Item> named;  // objects have their names, the layers no refs yet
    std::unique_lock lock(mutex_);
    for (;;) {
        changed_.wait(lock, [&] { return ended_ || !items_.empty() || !named.empty(); });
        if (ended_ || failure_) return;
        auto batch = std::move(items_);
        items_.clear();
        busy_ = true;
        lock.unlock();
        std::exception_ptr failure;
        try {
            for (auto& item : batch)
                in_context("layer " + item.layer.blob.digest.text(), [&] { item.staged.sink->flush(); });
            repository_.sync();
            finish(named);
            take_in(batch);
            named = std::move(batch);
        } catch (...) {
            failure = std::current_exception();
        }
        lock.lock();
        busy_ = !named.empty();
        failure_ = failure;
        changed_.notify_all();
    }
}

void LayerPublisher::take_in(std::vector<Item>& batch) {
    for (auto& item : batch) {
        in_context("layer " + item.layer.blob.digest.text(), [&] {
            // Before: a commit without its objects would be found damaged, whatever names it or does not.
            if (item.staged.foreign_commit) check_foreign_commit(*item.staged.sink, item.staged.commit);
            item.staged.sink->publish([&] {
                if (item.staged.detached_metadata)
                    add_signatures(repository_, item.staged.commit, *item.staged.detached_metadata);
            });
            // Durable with the names, before the ref: a layer with a ref is not fetched again after a crash.
            repository_.writer().add_layer(item.layer, item.staged.commit, !item.staged.partial);
        });
    }
}

void LayerPublisher::finish(std::vector<Item>& batch) {
    for (auto& item : batch) {
        const auto& commit = item.staged.commit;
        if (item.staged.partial) {
            repository_.set_ref(own_ref(item.layer), commit);
        } else {
            for (const auto& [ref, named] : refs_for(repository_, item.layer, commit)) repository_.set_ref(ref, named);
        }
        published_(item.staged, item.index);
    }
    batch.clear();
}

}  // namespace imaged
