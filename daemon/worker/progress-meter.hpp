// SPDX-License-Identifier: Apache-2.0
// Turns the observer calls of a job into progress messages, at most ten of a kind a second.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <vector>

#include "job/job.hpp"
#include "store/repository/import-observer.hpp"
#include "store/repository/work-observer.hpp"

namespace imaged {

class ProgressMeter : public ImportObserver, public WorkObserver {
public:
    // SEND is called with one message at a time and must not block. It returns whether there was room for the message;
    // what there was no room for is sent again in its latest state.
    explicit ProgressMeter(std::function<bool(const job::Message&)> send) : send_(std::move(send)) {}
    // The latest states that were not sent: layers' that there was no room for, and the job's, however new.
    std::vector<job::Message> unsent();
    // Returns the bytes of layers that the job fetched in all its attempts, also those that a source sent twice.
    std::uint64_t fetched_bytes() const {
        const std::lock_guard lock(mutex_);
        return progress_.bytes_done;
    }

    void phase(ImportPhase phase) override;
    void layers(const std::vector<ImageLayer>& layers, const std::vector<bool>& present) override;
    void expected(std::size_t layer, std::uint64_t bytes) override;
    void fetched(std::size_t layer, std::size_t bytes) override;
    void finished(std::size_t layer) override;
    void begin(std::string_view name, double from, double to, std::string_view unit) override;
    void advance(std::uint64_t done, std::uint64_t total) override;

private:
    using Clock = std::chrono::steady_clock;

    struct Layer {
        job::LayerProgress progress;
        Clock::time_point sent{};
        bool refused = false;
    };

    // All of these are called with the mutex held.
    void send_progress(bool now);
    void send_layer(Layer& layer, bool now);
    void send_refused();

    const std::function<bool(const job::Message&)> send_;
    mutable std::mutex mutex_;
    job::Progress progress_;
    double phase_from_ = 0, phase_to_ = 1;
    Clock::time_point sent_{};
    std::vector<Layer> layers_;
    bool progress_unsent_ = false, any_layer_refused_ = false;
};

}  // namespace imaged
