// SPDX-License-Identifier: Apache-2.0
// Lays out the live display of one job: pure functions from the job's state, a width and a height to lines of text.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "job/job.hpp"

namespace imagectl {

// More layers than any image may have; a daemon that names more is not followed further.
inline constexpr std::size_t max_shown_layers = 4096;

struct LayerStatus {
    std::string digest;
    std::string state;                  // job::LayerState
    std::uint64_t done = 0, total = 0;  // compressed bytes
    bool is(imaged::job::LayerState other) const { return state == imaged::to_string(other); }
    bool finished() const { return is(imaged::job::LayerState::done) || is(imaged::job::LayerState::reused); }
};

struct JobStatus {
    std::uint32_t id = 0;
    std::string path, kind, image;
    std::vector<std::string> images;  // of a job that was given any number of them
    std::string state;                // "queued", "running", "cancelling", "finished"
    std::string phase;
    std::uint32_t owner = 0, position = 0;
    double fraction = 0;
    std::uint64_t bytes_done = 0, bytes_total = 0;
    std::uint32_t layers_done = 0, layers_total = 0;
    std::uint64_t steps_done = 0, steps_total = 0;
    std::string unit;                                             // of the steps
    std::uint64_t created = 0, started = 0, finished = 0;         // microseconds since 1970
    std::uint64_t started_monotonic = 0, finished_monotonic = 0;  // microseconds of CLOCK_MONOTONIC
    std::string result, error_name, error_message;
    std::map<std::uint32_t, LayerStatus> layers;  // by place in the manifest
};

// The subject of JOB: an image, or the first of several and how many more there are; empty if none is named.
std::string subject(const JobStatus& job);

struct Speed {
    std::optional<double> rate;       // bytes per second
    std::optional<double> remaining;  // seconds
};

// At most HEIGHT lines of at most WIDTH columns; the last one is the total. Where not every layer has room, those being
// fetched come first and a summary stands for the others.
std::vector<std::string> progress_lines(const JobStatus& job, const Speed& speed, std::size_t width,
                                        std::size_t height);

// The total alone.
std::string total_line(const JobStatus& job, const Speed& speed, std::size_t width);

}  // namespace imagectl
