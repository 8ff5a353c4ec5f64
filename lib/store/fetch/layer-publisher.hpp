// SPDX-License-Identifier: Apache-2.0
// Moves verified layers into the repository, in a thread of its own so that fetching goes on: their bytes are made
// durable, then their objects get their names, then those are made durable, then the refs are written. A crash at any
// point leaves no ref to anything incomplete.
//
// To make something durable takes long and delays all other writers, so the names of some layers and the bytes of the
// next are made durable together.
#pragma once

#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "store/fetch/layer-import.hpp"
#include "store/repository/repository.hpp"

namespace imaged {

class LayerPublisher {
public:
    // Borrows the repository, whose refs nobody else writes meanwhile. PUBLISHED is called, from the thread, for each
    // layer that is done.
    LayerPublisher(Repository& repository, std::function<void(const StagedLayer&, std::size_t layer)> published);
    // Layers that were not begun are dropped.
    ~LayerPublisher();
    LayerPublisher& operator=(LayerPublisher&&) = delete;

    struct Item {
        StagedLayer staged;  // its blob and its content have the digests that LAYER says
        ImageLayer layer;
        std::size_t index;  // in the manifest
    };
    // Thread-safe. Throws what publishing an earlier layer threw.
    void add(Item item);
    // Waits until all that was added is done; throws the first failure.
    void wait();

private:
    void run();
    void take_in(std::vector<Item>& batch);
    void finish(std::vector<Item>& batch);

    Repository& repository_;
    const std::function<void(const StagedLayer&, std::size_t)> published_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<Item> items_;
    bool busy_ = false, ended_ = false;
    std::exception_ptr failure_;
    std::thread thread_;  // last: it uses all of the above
};

}  // namespace imaged
