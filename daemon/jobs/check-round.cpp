// SPDX-License-Identifier: Apache-2.0
#include "jobs/check-round.hpp"

#include <algorithm>
#include <utility>

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
    job::Result result;
    result.outcome = job::Outcome::cancelled;
    result.error_name = error_name(ErrorKind::cancelled);
    result.message = "the job was cancelled";
    return result;
}

job::Result failed_result(const Error& error) {
    job::Result result;
    result.error_name = error_name(error.kind());
    result.message = error.what();
    return result;
}

}  // namespace

CheckRound::CheckRound(EventLoop& loop, WorkerSettings settings, job::Request request, bool any_source,
                       std::function<void(const job::Progress&)> on_progress, WorkerProcess::OnEnd on_end)
    : loop_(loop),
      settings_(std::move(settings)),
      request_(std::move(request)),
      any_source_(any_source),
      on_progress_(std::move(on_progress)),
      on_end_(std::move(on_end)),
      details_({{"all", false},
                {"images-checked", std::uint64_t{0}},
                {"updates", nlohmann::json::array()},
                {"unchecked", nlohmann::json::array()}}) {
    progress_.phase = "manifest";
    progress_.unit = "images";
}

void CheckRound::begin(const std::vector<StoredName>& stored) {
    const auto wanted = request_.texts("images");
    details_["all"] = wanted.empty();
    for (const auto& image : wanted) {
        const auto found =
            std::find_if(stored.begin(), stored.end(), [&](const StoredName& known) { return known.name == image; });
        images_.push_back(found == stored.end() ? StoredName{image, {}} : *found);
    }
    if (wanted.empty()) images_.assign(stored.begin(), stored.end());
    progress_.steps_total = images_.size();
    if (!stopping_) next();
}

void CheckRound::fail(const Error& error) {
    if (!stopping_) end_later(failed_result(error));
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
            checked(image.name, failed_result(current_error()));
        }
    }
    if (!process_) end_later(whole());
}

void CheckRound::check(const StoredName& image) {
    if (image.source == archive_source)
        throw Error(ErrorKind::not_found, "it came out of an archive: there is nowhere to ask");
    const auto& source = image.source.empty() ? image.name : image.source;
    if (!any_source_ && ImageReference::parse(source).transport() != Transport::registry)
        throw Error(ErrorKind::not_authorized, "only root may have images checked that are not of a registry");
    job::Request request;
    request.kind = job::Kind::check;
    request.image = source;
    if (source != image.name) request.arguments["target"] = image.name;
    request.repository = request_.repository;
    request.settings = request_.settings;
    process_ = std::make_unique<WorkerProcess>(
        loop_, settings_, std::move(request), FileDescriptor(), FileDescriptor(), [](const job::Message&) {},
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
    if (result.outcome != job::Outcome::success) {
        add("unchecked", {{"image", image},
                          {"error-name", bus_error_name(result.error_name)},
                          {"error", bus_text(result.message.substr(0, max_reason_bytes))}});
        return;
    }
    details_["images-checked"] = details_["images-checked"].get<std::uint64_t>() + 1;
    for (const auto& update : result.found_updates) found_updates_.push_back(update);
    if (!result.details.value("update-available", false)) return;
    nlohmann::json update{{"image", image}};
    for (const auto* key : {"digest", "update-digest", "update-version", "layers-missing", "bytes-to-fetch"})
        if (const auto found = result.details.find(key); found != result.details.end()) update[key] = *found;
    add("updates", std::move(update));
}

void CheckRound::add(const char* list, nlohmann::json entry) {
    const auto bytes = json_text(entry).size();
    if (bytes_ + bytes <= max_list_bytes) {
        bytes_ += bytes;
        details_[list].push_back(std::move(entry));
        return;
    }
    auto& truncated = details_["truncated"];
    if (truncated.empty() || truncated.back() != list) truncated.push_back(list);
}

// The callback may destroy this round; it runs from the loop, not within a call of the round.
void CheckRound::end_later(job::Result result) {
    if (std::exchange(ended_, true)) return;
    loop_.post([on_end = on_end_, result = std::move(result)] { on_end(result); });
}

job::Result CheckRound::whole() const {
    job::Result result;
    result.outcome = job::Outcome::success;
    result.details = details_;
    result.found_updates = found_updates_;
    return result;
}

}  // namespace imaged
