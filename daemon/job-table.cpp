// SPDX-License-Identifier: Apache-2.0
#include "job-table.hpp"

#include <spdlog/spdlog.h>

#include <chrono>
#include <utility>

#include "bus-error.hpp"
#include "journal.hpp"

namespace imaged {

namespace {

using namespace std::chrono_literals;

// Long enough for whoever started the job to come and look.
constexpr auto keep_finished = 60s;
// Memory for the results of a flood of short jobs; the oldest go early.
constexpr std::size_t max_finished = 128;

std::string text_member(const nlohmann::json& object, const char* key) {
    const auto found = object.find(key);
    return found != object.end() && found->is_string() ? bus_text(found->get<std::string>()) : std::string();
}

std::map<std::string, std::string> fields_of(const QueuedJob& job) {
    return {{"IMAGED_JOB", std::to_string(number(job.id))},
            {"IMAGED_KIND", std::string(to_string(job.request.kind))},
            {"IMAGED_IMAGE", job.request.image},
            {"IMAGED_USER", std::to_string(job.owner)}};
}

// One line, with what the job read and how long it took.
void tell_end(const QueuedJob& job, const job::Result& result, double seconds) {
    auto fields = fields_of(job);
    fields["IMAGED_SECONDS"] = fmt::format("{:.3f}", seconds);
    if (result.outcome != job::Outcome::success) {
        const bool failed = result.outcome == job::Outcome::failed;
        fields["IMAGED_ERROR"] = result.error_name;
        journal::tell(failed ? journal::Event::job_failed : journal::Event::job_cancelled,
                      fmt::format("job {} {} after {:.1f} s: {}: {}", number(job.id), to_string(result.outcome),
                                  seconds, result.error_name, result.message),
                      fields);
        return;
    }
    fields["IMAGED_DIGEST"] = text_member(result.details, "digest");
    std::string bytes;
    if (const auto found = result.details.find("bytes-fetched"); found != result.details.end()) {
        fields["IMAGED_BYTES"] = found->dump();
        bytes = ", " + found->dump() + " bytes fetched";
    }
    journal::tell(journal::Event::job_succeeded,
                  fmt::format("job {} ended after {:.1f} s: success{}", number(job.id), seconds, bytes), fields);
}

}  // namespace

JobTable::JobTable(sdbus::IConnection& connection, EventLoop& loop, WorkerSettings settings, Events events)
    : connection_(connection), loop_(loop), settings_(std::move(settings)), events_(std::move(events)) {}

JobTable::~JobTable() {
    for (const auto& [id, timer] : finished_) loop_.cancel(timer);
}

void JobTable::job_added(const QueuedJob& job) {
    auto& object = objects_[job.id];
    object = std::make_unique<JobObject>(connection_, loop_, job, events_.cancel_asked);
    object->announce();
    events_.added(job.id);
}

void JobTable::job_moved(const QueuedJob& job, std::uint32_t position) {
    objects_.at(job.id)->moved(job.state, position);
}

void JobTable::job_finished(const QueuedJob& job, const job::Result& result) {
    auto& object = *objects_.at(job.id);
    const auto told = object.finish(result);
    const auto outcome = std::string(to_string(told.outcome));
    const auto seconds = object.started() == 0 ? 0.0 : static_cast<double>(object.finished() - object.started()) / 1e6;
    tell_end(job, told, seconds);
    tell_changed_images(told);
    events_.removed(job.id, outcome);
    finished_[job.id] = loop_.after(keep_finished, [this, id = job.id] { forget(id); });
    // The oldest object may be the one that is just being asked something.
    if (finished_.size() > max_finished) loop_.post([this] { forget_oldest(); });
}

void JobTable::start_job(const QueuedJob& job, JobFiles files) {
    const auto id = job.id;
    auto request = job.request;
    request.settings = settings_.jobs;
    journal::tell(journal::Event::job_started,
                  fmt::format("job {} starts: {} {} for user {}", number(id), to_string(job.request.kind),
                              job.request.image, job.owner),
                  fields_of(job));
    try {
        running_ = Running{id, std::make_unique<WorkerProcess>(
                                   loop_, settings_, std::move(request), std::move(files.auth), std::move(files.input),
                                   [this, id](const job::Message& message) { worker_said(id, message); },
                                   [this, id](const job::Result& result) { worker_ended(id, result); })};
    } catch (...) {
        job::Result result;
        const auto error = current_error().with_context("start the worker");
        result.error_name = error_name(error.kind());
        result.message = error.what();
        loop_.post([this, id, result] { queue_.finished(id, result); });
    }
}

void JobTable::stop_job(JobId id) {
    if (running_ && running_->id == id) running_->process->stop();
}

void JobTable::worker_said(JobId id, const job::Message& message) {
    auto& object = *objects_.at(id);
    if (const auto* progress = std::get_if<job::Progress>(&message)) object.progressed(*progress);
    if (const auto* layer = std::get_if<job::LayerProgress>(&message)) object.layer_progressed(*layer);
}

void JobTable::worker_ended(JobId id, const job::Result& result) {
    running_.reset();
    queue_.finished(id, result);
}

void JobTable::tell_changed_images(const job::Result& result) {
    for (const auto& change : result.changed_images) {
        if (!change.is_object()) continue;
        events_.image_changed(text_member(change, "image"), text_member(change, "old"), text_member(change, "new"));
    }
}

void JobTable::forget(JobId id) {
    const auto timer = finished_.find(id);
    if (timer == finished_.end()) return;
    loop_.cancel(timer->second);
    finished_.erase(timer);
    const auto object = objects_.find(id);
    object->second->retract();
    objects_.erase(object);
}

void JobTable::forget_oldest() {
    while (finished_.size() > max_finished) forget(finished_.begin()->first);
}

}  // namespace imaged
