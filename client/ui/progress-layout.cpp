// SPDX-License-Identifier: Apache-2.0
#include "ui/progress-layout.hpp"

#include <algorithm>

#include "ui/display-text.hpp"

namespace imagectl {

namespace {

using imaged::job::LayerState;

constexpr std::size_t narrowest_bar = 7, widest_bar = 40;

double part(std::uint64_t done, std::uint64_t total) {
    return total ? static_cast<double>(done) / static_cast<double>(total) : 0;
}

std::string layer_line(const LayerStatus& layer, std::size_t width) {
    const std::string start = pad(escaped(short_digest(layer.digest)), 12) + " " + pad(escaped(layer.state), 8) + " ";
    const std::string size =
        layer.finished() ? human_bytes(layer.total) : human_bytes(layer.done) + "/" + human_bytes(layer.total);
    const std::size_t size_width = 17;  // "999.9 MB/999.9 MB"
    const std::size_t used = display_width(start) + 1 + size_width;
    const double fraction = layer.finished() ? 1 : part(layer.done, layer.total);
    const std::string end = pad(size, size_width, true);
    if (width < used + narrowest_bar) return fit(start + size, width);
    return fit(start + bar(fraction, std::min(width - used, widest_bar)) + " " + end, width);
}

std::string summary_line(const JobStatus& job, std::size_t shown, std::size_t width) {
    std::size_t done = 0, reused = 0, fetching = 0, waiting = 0;
    for (const auto& [index, layer] : job.layers) {
        if (layer.is(LayerState::done))
            done++;
        else if (layer.is(LayerState::reused))
            reused++;
        else if (layer.is(LayerState::fetching))
            fetching++;
        else
            waiting++;
    }
    return fit(std::to_string(shown) + " of " + std::to_string(job.layers.size()) +
                   " layers shown: " + std::to_string(fetching) + " fetching, " + std::to_string(waiting) +
                   " waiting, " + std::to_string(done) + " done, " + std::to_string(reused) + " reused",
               width);
}

// What is going on, in a word or two.
std::string doing(const JobStatus& job) {
    if (job.state == "queued") return "queued, " + std::to_string(job.position) + " ahead";
    if (job.state == "cancelling") return "cancelling";
    if (job.state == "finished" && !job.result.empty()) return job.result;
    return job.phase.empty() ? job.state : job.phase;
}

}  // namespace

std::string subject(const JobStatus& job) {
    if (job.images.size() < 2) return job.image;
    return job.images.front() + " and " + std::to_string(job.images.size() - 1) + " more";
}

std::string total_line(const JobStatus& job, const Speed& speed, std::size_t width) {
    const std::string start = pad(escaped(doing(job)), 12) + " ";
    std::string end = " " + std::to_string(static_cast<int>(std::clamp(job.fraction, 0.0, 1.0) * 100)) + "%";
    if (job.layers_total)
        end += " " + std::to_string(job.layers_done) + "/" + std::to_string(job.layers_total) + " layers";
    if (job.steps_total)
        end += " " + std::to_string(job.steps_done) + "/" + std::to_string(job.steps_total) + " " + escaped(job.unit);
    if (job.bytes_total) end += " " + human_bytes(job.bytes_done) + "/" + human_bytes(job.bytes_total);
    if (job.state == "running" && job.phase == imaged::to_string(imaged::job::Phase::fetch)) {
        if (speed.rate) end += " " + human_bytes(static_cast<std::uint64_t>(std::min(*speed.rate, 1e18))) + "/s";
        if (speed.remaining) end += " " + human_duration(*speed.remaining) + " left";
    }
    const std::size_t used = display_width(start) + display_width(end);
    if (width < used + narrowest_bar) return fit(start + end.substr(1), width);
    return start + bar(job.fraction, std::min(width - used, widest_bar)) + end;
}

std::vector<std::string> progress_lines(const JobStatus& job, const Speed& speed, std::size_t width,
                                        std::size_t height) {
    std::vector<std::string> lines;
    if (height == 0 || width == 0) return lines;
    const std::size_t room = height - 1;
    if (job.layers.size() <= room) {
        for (const auto& [index, layer] : job.layers) lines.push_back(layer_line(layer, width));
    } else if (room >= 1) {
        const std::size_t places = room - 1;
        // Being fetched, then waiting, then the rest: what moves is what one looks for.
        std::vector<std::uint32_t> chosen;
        const auto choose = [&](auto&& fits) {
            for (const auto& [index, layer] : job.layers)
                if (chosen.size() < places && fits(layer)) chosen.push_back(index);
        };
        choose([](const LayerStatus& layer) { return layer.is(LayerState::fetching); });
        choose([](const LayerStatus& layer) { return !layer.is(LayerState::fetching) && !layer.finished(); });
        choose([](const LayerStatus& layer) { return layer.finished(); });
        std::sort(chosen.begin(), chosen.end());
        for (const auto index : chosen) lines.push_back(layer_line(job.layers.at(index), width));
        lines.push_back(summary_line(job, chosen.size(), width));
    }
    lines.push_back(total_line(job, speed, width));
    return lines;
}

}  // namespace imagectl
