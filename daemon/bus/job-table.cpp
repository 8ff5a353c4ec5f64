// SPDX-License-Identifier: Apache-2.0
#include "bus/job-table.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>
#include <vector>

#include "base/json.hpp"
#include "bus/job-record.hpp"
#include "process/bus-error.hpp"
#include "process/journal.hpp"

namespace imaged {

namespace {

using namespace std::chrono_literals;

// Long enough for the caller that started the job to read its result.
constexpr auto keep_finished = 60s;
// Memory for the results of a flood of short jobs, and what an answer of GetManagedObjects may hold of them.
constexpr std::size_t max_finished = 128, max_finished_per_user = 64;
constexpr std::size_t max_outcome_bytes = 4 * 1024 * 1024, max_outcome_bytes_per_user = 1024 * 1024;
// Wall time of a job without authorisation: a registry that answers does so in seconds.
constexpr auto open_job_time = 60s;
// How often the journal says how far a long job is.
constexpr auto note_interval = 30s;
// Of what `systemctl status` shows on one line.
constexpr std::size_t max_status_bytes = 400;

std::string text_member(const nlohmann::json& object, const char* key) {
    const auto found = object.find(key);
    return found != object.end() && found->is_string() ? bus_text(found->get<std::string>()) : std::string();
}

// What the journal says of JOB.
JobRecord record_of(const QueuedJob& job) {
    auto record = imaged::record_of(job.request);
    record.fields.emplace("IMAGED_JOB", std::to_string(number(job.id)));
    record.fields.emplace("IMAGED_USER", std::to_string(job.owner));
    return record;
}

// Compressed bytes that a job of a kind that fetches layers fetched, whether it succeeded or not. PROGRESS of it is all
// that there is of one without an outcome.
std::optional<std::uint64_t> fetched_bytes(const job::Request& request, const job::Result& result,
                                           std::uint64_t progress) {
    if (result.outcome != job::Outcome::success)
        return request.traits().stores_image ? std::optional(progress) : std::nullopt;
    const auto found = result.details->find(job::key::bytes_fetched);
    if (found == result.details->end() || !found->is_number_unsigned()) return std::nullopt;
    return found->get<std::uint64_t>();
}

// One line, with what the job read and how long it took.
void tell_end(const QueuedJob& job, const job::Result& result, double seconds, std::optional<std::uint64_t> fetched) {
    auto fields = record_of(job).fields;
    fields.emplace("IMAGED_SECONDS", fmt::format("{:.3f}", seconds));
    if (fetched) fields.emplace("IMAGED_BYTES", std::to_string(*fetched));
    const auto bytes = fetched ? fmt::format(", {} bytes fetched", *fetched) : std::string();
    if (result.outcome != job::Outcome::success) {
        const bool failed = result.outcome == job::Outcome::failed;
        const bool deferred = result.error_name == error_name(ErrorKind::deferred);
        fields.emplace("IMAGED_ERROR", result.error_name);
        journal::tell(deferred ? journal::Event::job_deferred
                      : failed ? journal::Event::job_failed
                               : journal::Event::job_cancelled,
                      fmt::format("job {} {} after {:.1f} s{}: {}: {}", number(job.id), to_string(result.outcome),
                                  seconds, bytes, result.error_name, result.message),
                      fields);
        return;
    }
    fields.emplace("IMAGED_DIGEST", text_member(*result.details, job::key::digest));
    fields.emplace("IMAGED_POLICY", text_member(*result.details, job::key::signature_policy));
    journal::tell(journal::Event::job_succeeded,
                  fmt::format("job {} ended after {:.1f} s: success{}", number(job.id), seconds, bytes), fields);
    for (const auto& change : result.changed_images) {
        if (change.new_digest) continue;
        const auto image = bus_text(change.image);
        for (const char* key : {"IMAGED_IMAGE", "IMAGED_DIGEST"}) fields.erase(key);
        fields.emplace("IMAGED_IMAGE", image);
        fields.emplace("IMAGED_DIGEST", bus_text(change.old_digest.value_or("")));
        journal::tell(journal::Event::image_removed,
                      fmt::format("job {} removed {} for user {}", number(job.id), image, job.owner), fields);
    }
}

// The connections that hold a share of JOB.
std::vector<std::string> bus_names(const QueuedJob& job) {
    std::vector<std::string> names;
    for (const auto& share : job.shares)
        if (!share.bus_name.empty()) names.push_back(share.bus_name);
    return names;
}

}  // namespace

JobTable::JobTable(sdbus::IConnection& connection, EventLoop& loop, WorkerSettings settings, const Files& files,
                   Events events)
    : connection_(connection),
      loop_(loop),
      settings_(std::move(settings)),
      events_(std::move(events)),
      metrics_(loop, files.metrics),
      queue_(*this, files.numbers) {}

void JobTable::job_added(const QueuedJob& job) {
    auto& object = objects_[job.id];
    object = std::make_unique<JobObject>(connection_, loop_, job, events_.cancel_asked, events_.outcome_asked);
    object->announce();
    phases_[job.id] = {std::string(to_string(job::Phase::waiting)), EventLoop::Clock::now()};
    events_.added(job.id);
    tell_status();
}

void JobTable::job_finished(const QueuedJob& job, const job::Result& result) {
    tell_whether_it_changes();
    auto& object = *objects_.at(job.id);
    const auto told = object.finish(job.request.work, result, bus_names(job));
    const auto outcome = std::string(to_string(told.outcome));
    const auto seconds = static_cast<double>(object.microseconds_run()) / 1e6;
    const auto fetched = fetched_bytes(job.request, told, object.bytes_done());
    tell_end(job, told, seconds, fetched);
    enter_phase(job.id, job.request, std::string(to_string(job::Phase::done)));
    phases_.erase(job.id);
    metrics_.job_ended(job.request, told, fetched.value_or(0));
    tell_changes(told);
    events_.removed(job.id, outcome);
    finished_[job.id] = {loop_.after(keep_finished, [this, id = job.id] { forget(id); }), job.owner,
                         object.outcome_bytes()};
    // The oldest object may be the one that is just being asked something.
    loop_.post([this] { forget_surplus(); });
    tell_status();
}

void JobTable::tell_whether_it_changes() {
    const auto& jobs = queue_.jobs();
    events_.changes(std::any_of(jobs.begin(), jobs.end(),
                                [](const QueuedJob& job) { return !job.waits() && job.lane() == Lane::changing; }));
}

void JobTable::start_job(const QueuedJob& job, JobFiles files) {
    tell_whether_it_changes();
    if (!job.request.background) return start_work(job, std::move(files));
    const auto id = job.id;
    running_[id];
    events_.conditions_wanted(
        job.request.may_use_network(),
        [this, id, files = std::make_shared<JobFiles>(std::move(files))](const std::optional<std::string>& reason) {
            if (!running_.contains(id)) return;  // cancelled meanwhile
            if (!reason) return start_work(*queue_.job(id), std::move(*files));
            defer(id, *reason);
        });
}

void JobTable::defer(JobId id, const std::string& reason) {
    running_.erase(id);
    queue_.finished(id, job::failed(Error(ErrorKind::deferred, "postponed: " + reason)));
}

void JobTable::start_work(const QueuedJob& job, JobFiles files) {
    const auto id = job.id;
    auto request = job.request;
    request.settings = settings_.jobs;
    request.settings.host_credentials = job.credentials == Credentials::host || job.standing == Standing::owner;
    request.settings.local_sources = job.standing == Standing::owner;
    const auto record = record_of(job);
    journal::tell(journal::Event::job_started,
                  fmt::format("job {} starts: {} for user {}", number(id), record.text, job.owner), record.fields);
    tell_status();
    if (request.as<job::CheckImages>() != nullptr) return start_round(job, std::move(request));
    try {
        auto process = std::make_unique<WorkerProcess>(
            loop_, settings_, std::move(request), std::move(files),
            [this, id](const job::Message& message) { worker_said(id, message); },
            [this, id](const job::Result& result) { worker_ended(id, result); });
        running_[id].process = std::move(process);
        note_later(id);
        if (job.standing == Standing::open) limit_time(id);
    } catch (...) {
        const auto result = job::failed(current_error().with_context("start the worker"));
        running_.erase(id);
        loop_.post([this, id, result] { queue_.finished(id, result); });
    }
}

void JobTable::start_round(const QueuedJob& job, job::Request request) {
    const auto id = job.id;
    auto& round = running_[id].round;
    round = std::make_unique<CheckRound>(
        loop_, settings_, std::move(request), job.standing == Standing::owner,
        [this, id](const job::Progress& progress) { worker_said(id, progress); },
        [this, id](const job::Result& result) { worker_ended(id, result); });
    note_later(id);
    events_.images_wanted([this, id](const std::vector<StoredName>& images, const Error* error) {
        const auto found = running_.find(id);
        if (found == running_.end()) return;
        if (error != nullptr)
            found->second.round->fail(*error);
        else
            found->second.round->begin(images);
    });
}

void JobTable::limit_time(JobId id) {
    running_[id].limit = loop_.after(open_job_time, [this, id] {
        auto& running = running_.at(id);
        running.out_of_time = true;
        running.process->stop();
    });
}

void JobTable::note_later(JobId id) {
    running_.at(id).note = loop_.after(note_interval, [this, id] {
        const auto* const job = queue_.job(id);
        if (job == nullptr) return;
        const auto& object = *objects_.at(id);
        auto [text, fields] = record_of(*job);
        fields.emplace("IMAGED_PHASE", object.phase());
        fields.emplace("IMAGED_SECONDS", fmt::format("{:.3f}", static_cast<double>(object.microseconds_run()) / 1e6));
        journal::tell(journal::Event::job_goes_on,
                      fmt::format("job {} goes on: {}: {}", number(id), text, object.how_far()), fields);
        note_later(id);
    });
}

// What runs, and how much waits. Everybody can read it: of a private job the image is not named.
void JobTable::tell_status() {
    std::string text;
    std::size_t waiting = 0;
    for (const auto& job : queue_.jobs()) {
        if (job.waits()) {
            ++waiting;
            continue;
        }
        text += fmt::format("{}Job {}: {}", text.empty() ? "" : "; ", number(job.id),
                            job.is_private() ? std::string(job.request.traits().name) : record_of(job).text);
    }
    metrics_.set_jobs(waiting, queue_.jobs().size() - waiting);
    if (text.empty()) text = "Idle";
    if (text.size() > max_status_bytes) text = text.substr(0, max_status_bytes) + "…";
    if (waiting != 0) text += fmt::format("; {} waiting", waiting);
    journal::tell_status(text);
}

void JobTable::enter_phase(JobId id, const job::Request& request, const std::string& name) {
    auto& phase = phases_.at(id);
    if (phase.name == name) return;
    const auto now = EventLoop::Clock::now();
    metrics_.phase_ended(request.traits().name, phase.name, now - phase.began);
    phase = {name, now};
}

void JobTable::stop_job(JobId id) {
    const auto found = running_.find(id);
    if (found == running_.end()) return;
    if (found->second.round) return found->second.round->stop();
    if (found->second.process) return found->second.process->stop();
    running_.erase(found);
    loop_.post([this, id] { queue_.finished(id, cancelled_before_start()); });
}

void JobTable::worker_said(JobId id, const job::Message& message) {
    auto& object = *objects_.at(id);
    const auto* job = queue_.job(id);
    if (const auto* progress = std::get_if<job::Progress>(&message)) {
        object.progressed(*progress);
        if (job != nullptr) enter_phase(id, job->request, progress->phase);
    }
    if (const auto* layer = std::get_if<job::LayerProgress>(&message); layer != nullptr && job != nullptr)
        object.layer_progressed(*layer, bus_names(*job));
}

void JobTable::worker_ended(JobId id, const job::Result& result) {
    const auto running = running_.extract(id);
    if (!running.mapped().out_of_time || result.outcome == job::Outcome::success) {
        queue_.finished(id, result);
        return;
    }
    queue_.finished(
        id, job::failed(
                Error(objects_.at(id)->traits().reads_image ? ErrorKind::source_unreachable : ErrorKind::failed,
                      fmt::format("the job took longer than {} seconds, the limit for callers who are not authorised",
                                  open_job_time.count()))));
}

void JobTable::tell_changes(const job::Result& result) {
    for (const auto& change : result.changed_images) events_.image_changed(change);
    for (const auto& update : result.found_updates) events_.update_found(update);
}

void JobTable::forget(JobId id) {
    const auto found = finished_.find(id);
    if (found == finished_.end()) return;
    finished_.erase(found);
    const auto object = objects_.find(id);
    object->second->retract();
    objects_.erase(object);
}

void JobTable::forget_surplus() {
    while (forget_one()) {
    }
}

bool JobTable::forget_one() {
    struct Sum {
        std::size_t jobs = 0, bytes = 0;
    };
    Sum all;
    std::map<uid_t, Sum> users;
    for (const auto& [id, finished] : finished_) {
        for (auto* sum : {&all, &users[finished.owner]}) {
            ++sum->jobs;
            sum->bytes += finished.bytes;
        }
    }
    const auto largest = [&](auto member) {
        return std::max_element(users.begin(), users.end(), [member](const auto& one, const auto& other) {
            return one.second.*member < other.second.*member;
        });
    };
    if (users.empty()) return false;
    const auto by_jobs = largest(&Sum::jobs), by_bytes = largest(&Sum::bytes);
    std::optional<uid_t> victim;
    if (all.jobs > max_finished || by_jobs->second.jobs > max_finished_per_user) victim = by_jobs->first;
    if (all.bytes > max_outcome_bytes || by_bytes->second.bytes > max_outcome_bytes_per_user) victim = by_bytes->first;
    if (!victim) return false;
    const auto oldest = std::find_if(finished_.begin(), finished_.end(),
                                     [&](const auto& entry) { return entry.second.owner == *victim; });
    forget(oldest->first);
    return true;
}

}  // namespace imaged
