// SPDX-License-Identifier: Apache-2.0
#include "ui/progress-events.hpp"

#include <glib.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <string_view>

#include "job/job.hpp"

namespace imagectl {

namespace {

using imaged::job::LayerState;

using Json = nlohmann::ordered_json;

constexpr const char* protocol_version = "0.1.0";
constexpr std::int64_t interval = 200'000;

Json layers_that_run(const JobStatus& job) {
    auto layers = Json::array();
    for (const auto& [index, layer] : job.layers) {
        if (!layer.is(LayerState::fetching) && !layer.is(LayerState::done)) continue;
        layers.push_back({{"subtask", "layer"},
                          {"description", "Layer " + std::to_string(index + 1)},
                          {"id", layer.digest},
                          {"bytesCached", 0},
                          {"bytes", layer.is(LayerState::done) ? layer.total : layer.done},
                          {"bytesTotal", layer.total}});
    }
    return layers;
}

}  // namespace

std::string progress_event(const JobStatus& job) {
    std::uint64_t reused = 0, reused_bytes = 0;
    for (const auto& [index, layer] : job.layers) {
        if (!layer.is(LayerState::reused)) continue;
        ++reused;
        reused_bytes += layer.total;
    }
    const bool fetches = job.phase == imaged::to_string(imaged::job::Phase::fetch) && job.bytes_total > 0;
    const std::string task = fetches ? "pulling" : job.state == "queued" ? "queued" : job.phase;
    Json event = {{"type", fetches ? "ProgressBytes" : "ProgressSteps"},
                  {"task", task},
                  {"description", (fetches ? "Pulling Image" : job.kind + ": " + task) +
                                      (job.image.empty() ? "" : (fetches ? ": " : " ") + job.image)},
                  {"id", job.image.empty() ? job.kind : job.image}};
    if (fetches) {
        event["bytesCached"] = reused_bytes;
        event["bytes"] = job.bytes_done;
        event["bytesTotal"] = job.bytes_total;
    }
    const auto layers = job.layers_total - std::min<std::uint64_t>(reused, job.layers_total);
    const auto layers_done = job.layers_done - std::min<std::uint64_t>(reused, job.layers_done);
    event["stepsCached"] = reused;
    event["steps"] = job.steps_total > 0 ? job.steps_done : std::min<std::uint64_t>(layers_done, layers);
    event["stepsTotal"] = job.steps_total > 0 ? job.steps_total : layers;
    event["subtasks"] = fetches ? layers_that_run(job) : Json::array();
    return event.dump(-1, ' ', true, Json::error_handler_t::replace);
}

void ProgressEvents::update(const JobStatus& job) {
    if (!fd_) return;
    const auto now = g_get_monotonic_time();
    const auto phase = job.state + "/" + job.phase;
    if (phase == phase_ && now - last_ < interval) return;
    if (!started_) write_line(Json({{"type", "Start"}, {"version", protocol_version}}).dump());
    started_ = true;
    phase_ = phase;
    last_ = now;
    write_line(progress_event(job));
}

void ProgressEvents::write_line(std::string line) {
    line += '\n';
    for (std::string_view rest = line; fd_ && !rest.empty();) {
        const auto written = ::write(*fd_, rest.data(), rest.size());
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0)
            fd_.reset();
        else
            rest.remove_prefix(static_cast<std::size_t>(written));
    }
}

}  // namespace imagectl
