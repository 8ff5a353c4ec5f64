// SPDX-License-Identifier: Apache-2.0
// imaged: keeps container images in an OSTree repository, on request of D-Bus clients (dbus/*.xml). It never writes
// to the repository itself: each job is done by an imaged-worker of its own.
#include <spdlog/pattern_formatter.h>
#include <spdlog/spdlog.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>

#include "base/error.hpp"
#include "base/printable.hpp"
#include "base/requirements.hpp"
#include "daemon.hpp"
#include "jobs/job-metrics.hpp"
#include "process/command-line.hpp"
#include "process/held-config.hpp"
#include "process/log-queue.hpp"
#include "reading/repository-service.hpp"

namespace {

// What may pass until the last log messages are written.
constexpr std::chrono::milliseconds last_words_time(200);
// Each queued job may hold one descriptor of its caller's.
constexpr rlim_t wanted_descriptors = 8192;

// Messages quote what callers and registries said.
class PrintableFormatter : public spdlog::formatter {
public:
    void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& line) override {
        const auto text = imaged::printable({message.payload.data(), message.payload.size()});
        auto printable = message;
        printable.payload = text;
        inner_.format(printable, line);
    }
    std::unique_ptr<spdlog::formatter> clone() const override { return std::make_unique<PrintableFormatter>(); }

private:
    spdlog::pattern_formatter inner_{"imaged: %l: %v"};
};

void start_logging() {
    auto logger = imaged::log_queue::make_logger();
    logger->set_formatter(std::make_unique<PrintableFormatter>());
    spdlog::set_default_logger(std::move(logger));
}

void raise_descriptor_limit() {
    struct rlimit limit {};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted_descriptors) return;
    limit.rlim_cur = std::min(limit.rlim_max, wanted_descriptors);
    ::setrlimit(RLIMIT_NOFILE, &limit);
}

// What is wrong goes to standard error, what holds to standard output.
int check_config(const imaged::CommandLine& line) {
    const auto read = imaged::read_config(line);
    for (const auto& warning : read.warnings)
        std::fprintf(stderr, "imaged: warning: %s\n", imaged::printable(warning).c_str());
    std::fputs(to_text(read.config).c_str(), stdout);
    return 0;
}

}  // namespace

int main(int count, char** arguments) {
    // Another process of the same user can neither trace this one nor read its descriptors or memory.
    ::prctl(PR_SET_DUMPABLE, 0);
    try {
        imaged::require_stack();
        const auto line = imaged::parse_command_line(count, arguments);
        switch (line.mode) {
            case imaged::CommandLine::Mode::check_config: return check_config(line);
            case imaged::CommandLine::Mode::help: std::fputs(imaged::usage(), stdout); return 0;
            case imaged::CommandLine::Mode::read: return imaged::serve_repository(*line.repository);
            case imaged::CommandLine::Mode::metrics:
                std::fputs(imaged::read_metrics(line.metrics).c_str(), stdout);
                if (std::fflush(stdout) != 0) imaged::throw_errno("write the numbers");
                return 0;
            case imaged::CommandLine::Mode::version: std::puts("imaged " IMAGED_VERSION); return 0;
            case imaged::CommandLine::Mode::serve: break;
        }
        imaged::require_proc();
        start_logging();
        const auto read = imaged::config_to_start_with(line);
        if (read.error) spdlog::error("the configuration is refused: {}", *read.error);
        spdlog::set_level(spdlog::level::from_str(read.config.log_level));
        for (const auto& warning : read.warnings) spdlog::warn("{}", warning);
        raise_descriptor_limit();
        const int status = imaged::serve(line, read);
        imaged::log_queue::flush(last_words_time);
        return status;
    } catch (...) {
        const auto error = imaged::current_error();
        imaged::log_queue::flush(last_words_time);
        std::fprintf(stderr, "imaged: %s\n", imaged::printable(error.what()).c_str());
        return error.kind() == imaged::ErrorKind::invalid_argument ? 2 : 1;
    }
}
