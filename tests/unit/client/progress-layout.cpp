// SPDX-License-Identifier: Apache-2.0
#include "ui/progress-layout.hpp"

#include "catch.hpp"
#include "ui/display-text.hpp"

using namespace imagectl;

namespace {

JobStatus job(unsigned layers, unsigned fetching) {
    JobStatus status;
    status.state = "running";
    status.phase = "fetch";
    status.fraction = 0.25;
    status.bytes_done = 1'000'000;
    status.bytes_total = 4'000'000;
    status.layers_total = layers;
    for (unsigned i = 0; i < layers; i++)
        status.layers[i] = {"sha256:" + std::string(64, 'a'), i < layers - fetching ? "done" : "fetching", 500, 1000};
    return status;
}

}  // namespace

TEST_CASE("each layer has its line, and the total is last") {
    const auto lines = progress_lines(job(3, 1), {2e6, 90.0}, 100, 20);
    REQUIRE(lines.size() == 4);
    CHECK(lines[0].starts_with("aaaaaaaaaaaa done     [####"));
    CHECK(lines[2].find("500 B/1.0 kB") != std::string::npos);
    CHECK(lines[3].find("25% 0/3 layers 1.0 MB/4.0 MB 2.0 MB/s 1m30s left") != std::string::npos);
}

TEST_CASE("many layers show those that move, and a summary") {
    const auto lines = progress_lines(job(40, 2), {}, 80, 6);
    REQUIRE(lines.size() == 6);
    CHECK(lines[3].find("fetching") != std::string::npos);
    CHECK(lines[4] == "4 of 40 layers shown: 2 fetching, 0 waiting, 38 done, 0 reused");
}

TEST_CASE("no size of terminal is exceeded") {
    for (std::size_t width = 0; width < 120; width++)
        for (std::size_t height = 0; height < 8; height++) {
            const auto lines = progress_lines(job(5, 3), {1e30, 1e6}, width, height);
            REQUIRE(lines.size() <= height);
            for (const auto& line : lines) REQUIRE(display_width(line) <= width);
        }
}

TEST_CASE("a hostile digest or phase cannot drive the terminal") {
    JobStatus status = job(1, 1);
    status.layers[0].digest = "\x1b[2J";
    status.phase = "\x1b]0;x\x07";
    for (const auto& line : progress_lines(status, {}, 100, 10)) CHECK(line.find('\x1b') == std::string::npos);
}

TEST_CASE("what counts no bytes is counted in its unit") {
    JobStatus status;
    status.state = "running";
    status.phase = "hash";
    status.fraction = 0.16;
    status.steps_done = 2300;
    status.steps_total = 30100;
    status.unit = "objects";
    CHECK(total_line(status, {}, 100).ends_with(" 16% 2300/30100 objects"));
}

TEST_CASE("a job that was given several images names the first") {
    JobStatus status;
    status.images = {"docker://a", "docker://b", "docker://c"};
    CHECK(subject(status) == "docker://a and 2 more");
    status.images = {"docker://a"};
    status.image = "docker://a";
    CHECK(subject(status) == "docker://a");
}
