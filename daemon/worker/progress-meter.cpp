// SPDX-License-Identifier: Apache-2.0
#include "progress-meter.hpp"

#include <algorithm>

namespace imaged {

namespace {

constexpr std::chrono::milliseconds interval(100);

// Where each phase begins on the way from 0 to 1: fetching takes nearly all of the time.
constexpr double fetch_begin = 0.02, merge_begin = 0.90, relabel_begin = 0.92, commit_begin = 0.95;

}  // namespace

void ProgressMeter::phase(ImportPhase phase) {
    const std::lock_guard lock(mutex_);
    progress_.phase = to_string(phase);
    if (phase == ImportPhase::fetch || phase == ImportPhase::copy || phase == ImportPhase::write)
        progress_.fraction = fetch_begin;
    if (phase == ImportPhase::merge) progress_.fraction = merge_begin;
    if (phase == ImportPhase::relabel) progress_.fraction = relabel_begin;
    if (phase == ImportPhase::commit) progress_.fraction = commit_begin;
    send_progress(true);
}

void ProgressMeter::layers(const std::vector<ImageLayer>& layers, const std::vector<bool>& present) {
    const std::lock_guard lock(mutex_);
    // Again when the job is tried again: what was read stays read.
    layers_.clear();
    layers_.reserve(layers.size());
    any_layer_refused_ = false;
    progress_.layers_done = 0;
    progress_.bytes_total = progress_.bytes_done;
    for (std::size_t i = 0; i < layers.size(); ++i) {
        const auto& blob = layers[i].blob;
        const bool twice =
            std::any_of(layers.data(), &layers[i], [&](const auto& layer) { return layer.blob.digest == blob.digest; });
        const bool reused = present[i] || twice;
        const auto state = reused ? job::LayerState::reused : job::LayerState::waiting;
        layers_.push_back(
            {{static_cast<std::uint32_t>(i), blob.digest.text(), std::string(to_string(state)), 0, blob.size}});
        if (!reused) progress_.bytes_total += blob.size;
        progress_.layers_done += reused ? 1 : 0;
        send_layer(layers_.back(), true);
    }
    progress_.layers_total = static_cast<std::uint32_t>(layers.size());
    send_progress(true);
}

void ProgressMeter::expected(std::size_t index, std::uint64_t bytes) {
    const std::lock_guard lock(mutex_);
    auto& layer = layers_[index];
    progress_.bytes_total = std::max(progress_.bytes_total - layer.progress.total + bytes, progress_.bytes_done);
    layer.progress.total = bytes;
    send_layer(layer, true);
    send_progress(true);
}

void ProgressMeter::fetched(std::size_t index, std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    auto& layer = layers_[index];
    const bool first = layer.progress.done == 0;
    layer.progress.state = to_string(job::LayerState::fetching);
    // A source may send some of it again.
    layer.progress.done = std::min(layer.progress.done + bytes, layer.progress.total);
    progress_.bytes_done += bytes;
    progress_.bytes_total = std::max(progress_.bytes_total, progress_.bytes_done);
    if (progress_.bytes_total > 0)
        progress_.fraction = std::max(progress_.fraction, fetch_begin + (merge_begin - fetch_begin) *
                                                                            static_cast<double>(progress_.bytes_done) /
                                                                            static_cast<double>(progress_.bytes_total));
    send_layer(layer, first);
    send_progress(false);
}

void ProgressMeter::finished(std::size_t index) {
    const std::lock_guard lock(mutex_);
    layers_[index].progress.state = to_string(job::LayerState::done);
    layers_[index].progress.done = layers_[index].progress.total;
    ++progress_.layers_done;
    send_layer(layers_[index], true);
    send_progress(true);
}

void ProgressMeter::begin(std::string_view name, double from, double to, std::string_view unit) {
    const std::lock_guard lock(mutex_);
    progress_.phase = name;
    progress_.fraction = std::max(progress_.fraction, from);
    phase_from_ = from;
    phase_to_ = to;
    progress_.unit = unit;
    progress_.steps_done = progress_.steps_total = 0;
    send_progress(true);
}

void ProgressMeter::advance(std::uint64_t done, std::uint64_t total) {
    const std::lock_guard lock(mutex_);
    progress_.steps_done = std::min(done, total);
    progress_.steps_total = total;
    if (total > 0) {
        const auto share = static_cast<double>(progress_.steps_done) / static_cast<double>(total);
        progress_.fraction = std::max(progress_.fraction, phase_from_ + (phase_to_ - phase_from_) * share);
    }
    send_progress(done == total);
}

void ProgressMeter::send_progress(bool now) {
    progress_unsent_ = true;
    const auto time = Clock::now();
    if (!now && time - sent_ < interval) return;
    sent_ = time;
    send_refused();
    progress_unsent_ = !send_(progress_);
}

void ProgressMeter::send_layer(Layer& layer, bool now) {
    const auto time = Clock::now();
    if (!now && time - layer.sent < interval) return;
    layer.sent = time;
    send_refused();
    layer.refused = !send_(layer.progress);
    any_layer_refused_ = any_layer_refused_ || layer.refused;
}

// In the order of the layers; the socket that had no room may have some by now.
void ProgressMeter::send_refused() {
    if (!any_layer_refused_) return;
    for (auto& layer : layers_) {
        if (layer.refused && !send_(layer.progress)) return;
        layer.refused = false;
    }
    any_layer_refused_ = false;
}

std::vector<job::Message> ProgressMeter::unsent() {
    const std::lock_guard lock(mutex_);
    std::vector<job::Message> messages;
    for (const auto& layer : layers_)
        if (layer.refused) messages.emplace_back(layer.progress);
    if (progress_unsent_) messages.emplace_back(progress_);
    return messages;
}

}  // namespace imaged
