// SPDX-License-Identifier: Apache-2.0
#include "jobs/job-metrics.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <ctime>
#include <utility>

#include "base/error.hpp"
#include "base/json.hpp"
#include "base/replace-file.hpp"
#include "job/json-fields.hpp"

namespace imaged {

namespace {

using namespace std::chrono_literals;

// How long the file may be behind what is known.
constexpr auto write_interval = 500ms;
constexpr std::size_t max_metrics_bytes = 1024 * 1024;

struct Family {
    std::string_view name, type, help;
};
constexpr std::string_view up = "imaged_up";
constexpr std::string_view waiting = "imaged_jobs{state=\"waiting\"}", running = "imaged_jobs{state=\"running\"}";
constexpr std::string_view images = "imaged_images", damaged = "imaged_images_damaged",
                           updates = "imaged_updates_waiting", last_check = "imaged_last_check_timestamp_seconds",
                           repository_bytes = "imaged_repository_bytes",
                           prunable_bytes = "imaged_repository_prunable_bytes";
constexpr std::string_view jobs_ended = "imaged_jobs_total", fetched = "imaged_fetched_bytes_total",
                           reused = "imaged_reused_bytes_total", saved = "imaged_saved_bytes_total",
                           phase_seconds = "imaged_job_phase_seconds_total";
constexpr std::array<Family, 13> families{
    {{up, "gauge", "Whether the daemon runs; it leaves when it is idle, and comes when it is called."},
     {"imaged_jobs", "gauge", "Jobs by state."},
     {images, "gauge", "Stored images, after the last job that changed any."},
     {damaged, "gauge", "Stored images that are known to be damaged."},
     {updates, "gauge", "Stored images with an update that was found and not pulled yet."},
     {last_check, "gauge", "When images were last checked for updates with success, since the boot."},
     {repository_bytes, "gauge", "What the repository took on disk when that was last counted, since the boot."},
     {prunable_bytes, "gauge", "What a prune would have freed of that."},
     {jobs_ended, "counter", "Jobs that ended, by kind, result and name of the error."},
     {fetched, "counter", "Bytes of compressed layers that jobs fetched."},
     {reused, "counter", "Bytes of compressed layers that images needed and that were stored already."},
     {saved, "counter", "Of these, bytes of layers that were fetched in part (zstd:chunked)."},
     {phase_seconds, "counter", "Time that jobs spent in each phase."}}};

std::string_view family_of(std::string_view series) {
    return series.substr(0, series.find('{'));
}

const Family* find_family(std::string_view series) {
    const auto* const found = std::find_if(families.begin(), families.end(),
                                           [&](const Family& family) { return family.name == family_of(series); });
    return found != families.end() ? found : nullptr;
}

std::string number_text(double value) {
    std::array<char, 32> text;
    const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
    return {text.data(), end};
}

std::string to_text(const std::map<std::string, double>& values) {
    std::string text;
    for (const auto& family : families) {
        text += fmt::format("# HELP {} {}\n# TYPE {} {}\n", family.name, family.help, family.name, family.type);
        for (const auto& [series, value] : values) {
            if (family_of(series) == family.name) text += series + " " + number_text(value) + "\n";
        }
    }
    return text;
}

// What to_text() made of it. Lines that it cannot have made are left out.
std::map<std::string, double> parse(std::string_view text) {
    std::map<std::string, double> values;
    while (!text.empty()) {
        const auto line = text.substr(0, text.find('\n'));
        text.remove_prefix(std::min(text.size(), line.size() + 1));
        const auto space = line.rfind(' ');
        if (space == line.npos || find_family(line.substr(0, space)) == nullptr) continue;
        double value = 0;
        const auto number = line.substr(space + 1);
        const auto [end, failure] = std::from_chars(number.data(), number.data() + number.size(), value);
        if (failure == std::errc() && end == number.data() + number.size())
            values[std::string(line.substr(0, space))] = value;
    }
    return values;
}

std::map<std::string, double> read_values(const std::string& file) {
    const auto descriptor = try_open_file(AT_FDCWD, file, O_NOFOLLOW);
    return descriptor ? parse(read_all(descriptor.get(), max_metrics_bytes, file)) : std::map<std::string, double>();
}

void set_idle(std::map<std::string, double>& values) {
    for (const auto series : {up, waiting, running}) values[std::string(series)] = 0;
}

std::string lock_of(const std::string& file) {
    return file + ".lock";
}

// Whether a daemon runs that keeps FILE.
bool is_served(const std::string& file) {
    const auto lock = try_open_file(AT_FDCWD, lock_of(file), O_NOFOLLOW);
    // Only asked for: a daemon that starts meanwhile gets it.
    struct flock whole {};
    whole.l_type = F_WRLCK;
    return lock && ::fcntl(lock.get(), F_OFD_GETLK, &whole) == 0 && whole.l_type != F_UNLCK;
}

double member(const nlohmann::json& outcome, const char* key) {
    const auto found = outcome.find(key);
    return found != outcome.end() && found->is_number_unsigned() ? found->get<double>() : 0;
}

}  // namespace

JobMetrics::JobMetrics(EventLoop& loop, std::string file) : loop_(loop), file_(std::move(file)) {
    if (file_.empty()) return;
    try {
        lock_ = FileDescriptor(::open(lock_of(file_).c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
        // Another imaged, which is about to leave, may hold it too.
        struct flock whole {};
        whole.l_type = F_RDLCK;
        if (!lock_ || ::fcntl(lock_.get(), F_OFD_SETLK, &whole) != 0) throw_errno("lock " + lock_of(file_));
        values_ = read_values(file_);
    } catch (...) {
        spdlog::warn("what was counted before is not known: {}", current_error().what());
    }
    set_idle(values_);
    values_[std::string(up)] = 1;
    for (const auto series : {images, damaged, updates, fetched, reused, saved})
        values_.try_emplace(std::string(series), 0);
    write();
}

JobMetrics::~JobMetrics() {
    set_idle(values_);
    write();
}

void JobMetrics::job_ended(const job::Request& request, const job::Result& result, std::uint64_t fetched_bytes) {
    const auto error = result.outcome == job::Outcome::success ? "" : error_name(error_kind(result.error_name));
    add(fmt::format("{}{{error=\"{}\",kind=\"{}\",result=\"{}\"}}", jobs_ended, error, request.traits().name,
                    to_string(result.outcome)),
        1);
    for (const auto& change : result.changed_images)
        add(std::string(images),
            static_cast<double>(change.new_digest.has_value()) - static_cast<double>(change.old_digest.has_value()));
    add(std::string(fetched), static_cast<double>(fetched_bytes));
    if (result.outcome != job::Outcome::success) return;
    add(std::string(reused), member(*result.details, job::key::bytes_reused));
    add(std::string(saved), member(*result.details, job::key::bytes_saved));
    if (request.as<job::DiskUsage>() != nullptr) {
        job::DiskUsageOutcome usage;
        job::JsonReader reader(*result.details);
        job::DiskUsageOutcome::fields(usage, reader);
        set(std::string(repository_bytes), static_cast<double>(usage.disk_size));
        set(std::string(prunable_bytes), static_cast<double>(usage.prunable_size));
    }
    if (request.as<job::Check>() != nullptr || request.as<job::CheckImages>() != nullptr)
        set(std::string(last_check), static_cast<double>(std::time(nullptr)));
}

void JobMetrics::phase_ended(std::string_view kind, std::string_view phase, EventLoop::Clock::duration time) {
    // A worker that an image has taken over may name any phase.
    const bool known = names_of(job::Phase()).value(phase).has_value();
    add(fmt::format("{}{{kind=\"{}\",phase=\"{}\"}}", phase_seconds, kind, known ? phase : "other"),
        std::chrono::duration<double>(time).count());
}

void JobMetrics::set_jobs(std::size_t waiting_jobs, std::size_t running_jobs) {
    set(std::string(waiting), static_cast<double>(waiting_jobs));
    set(std::string(running), static_cast<double>(running_jobs));
}

void JobMetrics::set_images(std::uint32_t stored, std::uint32_t broken, std::uint32_t outdated) {
    set(std::string(images), stored);
    set(std::string(damaged), broken);
    set(std::string(updates), outdated);
}

void JobMetrics::add(std::string series, double value) {
    values_[std::move(series)] += value;
    write_later();
}

void JobMetrics::set(std::string series, double value) {
    if (const auto [found, is_new] = values_.emplace(std::move(series), value); !is_new) {
        if (found->second == value) return;
        found->second = value;
    }
    write_later();
}

void JobMetrics::write_later() {
    if (file_.empty() || timer_) return;
    timer_ = loop_.after(write_interval, [this] { write(); });
}

void JobMetrics::write() noexcept {
    if (file_.empty()) return;
    try {
        replace_file(AT_FDCWD, file_, to_text(values_), Durability::later);
    } catch (...) {
        spdlog::warn("the numbers for Prometheus are not written: {}", current_error().what());
    }
}

std::string read_metrics(const std::string& file) {
    auto values = read_values(file);
    if (!is_served(file)) set_idle(values);
    return to_text(values);
}

}  // namespace imaged
