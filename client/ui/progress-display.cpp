// SPDX-License-Identifier: Apache-2.0
#include "ui/progress-display.hpp"

#include <glib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <string_view>

#include "base/file-descriptor.hpp"
#include "job/job.hpp"
#include "ui/display-text.hpp"

namespace imagectl {

namespace {

using imaged::job::Phase;

constexpr std::int64_t redraw_interval = 100'000;
// Without a terminal, so that a log shows that a long layer goes on.
constexpr std::int64_t line_interval = 5'000'000;

}  // namespace

ProgressStyle progress_style(bool wanted) {
    if (!wanted) return ProgressStyle::none;
    const char* terminal = std::getenv("TERM");
    const bool able = terminal && *terminal && std::string_view(terminal) != "dumb";
    return able && isatty(STDERR_FILENO) ? ProgressStyle::live : ProgressStyle::lines;
}

void ProgressDisplay::update(const JobStatus& job) {
    if (style_ == ProgressStyle::lines) print_news(job);
    if (style_ != ProgressStyle::live) return;
    const std::int64_t now = g_get_monotonic_time();
    rate_.add(now, job.bytes_done);
    if (last_drawn_ && now - last_drawn_ < redraw_interval) return;
    last_drawn_ = now;
    draw(job);
}

void ProgressDisplay::erase(std::string& frame) {
    if (drawn_lines_) frame += "\x1b[" + std::to_string(drawn_lines_) + "A\r\x1b[J";
    drawn_lines_ = 0;
}

void ProgressDisplay::draw(const JobStatus& job) {
    winsize size{};
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 2 || size.ws_row < 2) size = {24, 80, 0, 0};
    // A line that fills the last column, or a frame that fills the last row, would scroll or wrap.
    const auto lines =
        progress_lines(job, {rate_.rate(last_drawn_), rate_.remaining(last_drawn_, job.bytes_done, job.bytes_total)},
                       size.ws_col - 1u, size.ws_row - 1u);
    std::string frame = "\x1b[?25l";
    if (drawn_lines_) frame += "\x1b[" + std::to_string(drawn_lines_) + "A\r";
    for (const auto& line : lines) frame += line + "\x1b[K\r\n";
    frame += "\x1b[J\x1b[?25h";
    drawn_lines_ = lines.size();
    imaged::write_to_stderr(frame);
}

void ProgressDisplay::print_news(const JobStatus& job) {
    std::string text;
    const std::string phase = job.state == "queued" ? "queued" : job.phase;
    if (phase != said_phase_ && !phase.empty() && phase != imaged::to_string(Phase::done) &&
        phase != imaged::to_string(Phase::waiting)) {
        said_phase_ = phase;
        text += prefix_ + escaped(phase);
        if (phase == "queued" && job.position) text += ", " + std::to_string(job.position) + " ahead";
        if (phase == imaged::to_string(Phase::fetch) && job.layers_total)
            text += ": " + std::to_string(job.layers_total) + " layers, " + human_bytes(job.bytes_total) + " to fetch";
        text += "\n";
    }
    for (const auto& [index, layer] : job.layers)
        if (layer.finished() && said_layers_.insert(index).second)
            text += prefix_ + "layer " + escaped(short_digest(layer.digest)) + " " + escaped(layer.state) + ", " +
                    human_bytes(layer.total) + "\n";
    const std::int64_t now = g_get_monotonic_time();
    if (!text.empty() || last_drawn_ == 0) last_drawn_ = now;
    if (now - last_drawn_ >= line_interval && job.state == "running") {
        last_drawn_ = now;
        text = prefix_ + escaped(phase) + " " + std::to_string(static_cast<int>(job.fraction * 100)) + "%";
        if (phase == imaged::to_string(Phase::fetch) && job.bytes_total)
            text += ", " + human_bytes(job.bytes_done) + "/" + human_bytes(job.bytes_total);
        if (job.steps_total)
            text +=
                ", " + std::to_string(job.steps_done) + "/" + std::to_string(job.steps_total) + " " + escaped(job.unit);
        text += "\n";
    }
    imaged::write_to_stderr(text);
}

void ProgressDisplay::finish() {
    std::string frame;
    erase(frame);
    imaged::write_to_stderr(frame);
    if (style_ == ProgressStyle::live) style_ = ProgressStyle::none;
}

void ProgressDisplay::say(const std::string& text) {
    std::string frame;
    erase(frame);
    imaged::write_to_stderr(frame + text + "\n");
    last_drawn_ = 0;
}

}  // namespace imagectl
