// SPDX-License-Identifier: Apache-2.0
#include "jobs/check-round.hpp"

#include <algorithm>
#include <utility>

#include "job/json-fields.hpp"
#include "oci/image-reference.hpp"
#include "process/bus-error.hpp"

namespace imaged {

namespace {

// As ListImages has it.
constexpr const char* archive_source = "archive";
// Of the lists in the outcome, as JSON: the whole has to be shorter than job::max_outcome_bytes.
constexpr std::size_t max_list_bytes = 400 * 1024;
// Of the reason why one image of many could not be checked.
constexpr std::size_t max_reason_bytes = 512;

job::Result cancelled_result() {
    return job::failed(Error(ErrorKind::cancelled, "the job was cancelled"));
}

}  // namespace

CheckRound::CheckRound(EventLoop& loop, WorkerSettings settings, job::Request request, bool any_source,
                       std::function<void(const job::Progress&)> on_progress, WorkerProcess::OnEnd on_end)
    : loop_(loop),
      settings_(std::move(settings)),
      request_(std::move(request)),
      any_source_(any_source),
      on_progress_(std::move(on_progress)),
      on_end_(std::move(on_end)) {
    progress_.phase = to_string(job::Phase::manifest);
    progress_.unit = "images";
}

void CheckRound::begin(const std::vector<StoredName>& stored) {
    const auto& wanted = *request_.images();
    outcome_.all = wanted.empty();
    for (const auto& image : wanted) {
        const auto name = image.image();
        const auto found =
            std::find_if(stored.begin(), stored.end(), [&](const StoredName& known) { return known.name == name; });
        images_.push_back(found == stored.end() ? StoredName{name, {}} : *found);
    }
    if (wanted.empty()) images_.assign(stored.begin(), stored.end());
    progress_.steps_total = images_.size();
    if (!stopping_) next();
}

void CheckRound::stop() {
    stopping_ = true;
    if (process_)
        process_->stop();
    else
        end_later(cancelled_result());
}

void CheckRound::next() {
    while (!images_.empty() && !process_) {
        const auto image = std::move(images_.front());
        images_.pop_front();
        try {
            check(image);
        } catch (...) {
            checked(image.name, job::failed(current_error()));
        }
    }
    if (!process_) end_later(whole());
}

void CheckRound::check(const StoredName& image) {
    if (image.source == archive_source)
        throw Error(ErrorKind::not_found, "it was imported from an archive, so it has no source to check");
    job::Check check{ImageReference::parse(image.source.value_or(image.name)), {}};
    if (!any_source_ && check.image.transport() != Transport::registry)
        throw Error(ErrorKind::not_authorized, "only root may have images checked that are not of a registry");
    if (image.source) check.target = ImageReference::parse(image.name);
    check.packages = request_.as<job::CheckImages>()->packages;
    auto request = request_;
    request.work = std::move(check);
    process_ = std::make_unique<WorkerProcess>(
        loop_, settings_, std::move(request), JobFiles(), [](const job::Message&) {},
        [this, image = image.name](const job::Result& result) {
            process_.reset();
            if (stopping_) return end_later(cancelled_result());
            checked(image, result);
            next();
        });
}

void CheckRound::checked(const std::string& image, const job::Result& result) {
    ++progress_.steps_done;
    progress_.fraction = static_cast<double>(progress_.steps_done) / static_cast<double>(progress_.steps_total);
    on_progress_(progress_);
    try {
        if (result.outcome == job::Outcome::success) return found(image, result);
        unchecked(image, result);
    } catch (...) {
        // A worker that was taken over may say anything.
        unchecked(image, job::failed(current_error()));
    }
}

void CheckRound::unchecked(const std::string& image, const job::Result& result) {
    add("unchecked", outcome_.unchecked,
        {image, bus_error_name(result.error_name), bus_text(result.message.substr(0, max_reason_bytes))});
}

void CheckRound::found(const std::string& image, const job::Result& result) {
    const auto found = job::from_json<job::CheckOutcome>(*result.details);
    ++outcome_.images_checked;
    found_updates_.insert(found_updates_.end(), result.found_updates.begin(), result.found_updates.end());
    if (!found.update_available) return;
    job::WaitingUpdate update{.image = image,
                              .digest = found.digest,
                              .update_digest = found.update_digest.value_or(""),
                              .update_version = found.update_version,
                              .layers_missing = found.layers_missing.value_or(0),
                              .bytes_to_fetch = found.bytes_to_fetch.value_or(0),
                              .changes = found.changes};
    // Better the update alone than nothing of it.
    if (bytes_ + json_text(job::to_json(update)).size() > max_list_bytes) update.changes.reset();
    add("updates", outcome_.updates, std::move(update));
}

template <typename Entry>
void CheckRound::add(const char* name, std::vector<Entry>& list, Entry entry) {
    const auto bytes = json_text(job::to_json(entry)).size();
    if (bytes_ + bytes > max_list_bytes) return void(truncated_.insert(name));
    bytes_ += bytes;
    list.push_back(std::move(entry));
}

// The callback may destroy this round; it runs from the loop, not within a call of the round.
void CheckRound::end_later(job::Result result) {
    if (std::exchange(ended_, true)) return;
    loop_.post([on_end = on_end_, result = std::move(result)] { on_end(result); });
}

job::Result CheckRound::whole() const {
    job::Result result;
    result.outcome = job::Outcome::success;
    auto details = job::to_json(outcome_);
    if (!truncated_.empty()) details[job::key::truncated] = truncated_;
    result.details = HeldJson(std::move(details));
    result.found_updates = found_updates_;
    return result;
}

}  // namespace imaged
