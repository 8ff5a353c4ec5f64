// SPDX-License-Identifier: Apache-2.0
#include "bus/job-object.hpp"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>
#include <vector>

#include "bus/variant.hpp"
#include "process/bus-error.hpp"

namespace imaged {

namespace {

using namespace std::chrono_literals;

constexpr auto signal_interval = 100ms;
// An image whose layers are all stored reports all of them within a second or two.
constexpr std::size_t max_layer_signals = 100;  // in that time
// Below 1.0, which means finished.
constexpr double largest_unfinished = 0.9999;
// What a worker may make the daemon remember and repeat.
constexpr std::uint32_t max_layers = 4096;
constexpr std::size_t max_phase_bytes = 64;
constexpr std::size_t max_digest_bytes = 256;
// What the property Outcome has of an outcome: GetManagedObjects answers with every job's properties.
constexpr std::size_t max_shown_bytes = 8 * 1024;
// The references in the property Images.
constexpr std::size_t max_images_bytes = 8 * 1024;
// Connections that are sent what is not for everybody; others ask with GetOutcome.
constexpr std::size_t max_private_callers = 8;
constexpr const char* private_message = "only the job's user and root may read the message, with GetOutcome";

template <typename Clock>
std::uint64_t microseconds() {
    return static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::microseconds>(Clock::now().time_since_epoch()).count());
}

std::vector<std::string> shown_images(const job::Request& request) {
    if (const auto image = request.image_name()) return {bus_text(*image)};
    std::vector<std::string> images;
    const auto* const several = request.images();
    if (several == nullptr) return images;
    std::size_t bytes = 0;
    for (const auto& reference : *several) {
        const auto image = reference.image();
        bytes += image.size();
        if (bytes > max_images_bytes) break;
        images.push_back(bus_text(image));
    }
    return images;
}

std::vector<std::string> first_callers(const std::vector<std::string>& callers) {
    const auto count = std::min(callers.size(), max_private_callers);
    return {callers.begin(), callers.begin() + static_cast<std::ptrdiff_t>(count)};
}

}  // namespace

JobObject::Moment JobObject::Moment::now() {
    return {microseconds<std::chrono::system_clock>(), microseconds<std::chrono::steady_clock>()};
}

JobObject::JobObject(sdbus::IConnection& connection, EventLoop& loop, const QueuedJob& job, OnCancel on_cancel,
                     OnOutcome on_outcome)
    : AdaptorInterfaces(connection, path(job.id)),
      loop_(loop),
      on_cancel_(std::move(on_cancel)),
      on_outcome_(std::move(on_outcome)),
      id_(job.id),
      traits_(job.request.traits()),
      images_(shown_images(job.request)),
      image_(images_.size() == 1 ? images_.front() : std::string()),
      owner_(job.owner),
      created_(Moment::now()),
      private_(job.is_private()),
      state_(job.state) {
    registerAdaptor();
}

JobObject::~JobObject() {
    ignoring_errors([this] { unregisterAdaptor(); });
}

template <typename Value>
void JobObject::set(Value& member, Value value, const char* property) {
    if (member == value) return;
    member = std::move(value);
    changed_.insert(property);
}

void JobObject::set_now(Moment& moment, const std::string& property) {
    moment = Moment::now();
    changed_.insert({property, property + "Monotonic"});
}

void JobObject::moved(job::State state, std::uint32_t position) {
    if (state == job::State::running && started_.real == 0) set_now(started_, "StartTimestamp");
    set(state_, state, "State");
    set(position_, position, "Position");
    arm();
}

void JobObject::progressed(const job::Progress& progress) {
    if (state_ == job::State::finished) return;
    if (progress.phase.size() <= max_phase_bytes) set(phase_, bus_text(progress.phase), "Phase");
    if (std::isfinite(progress.fraction)) {
        set(fraction_, std::clamp(progress.fraction, fraction_, std::max(fraction_, largest_unfinished)), "Fraction");
    }
    set(bytes_done_, progress.bytes_done, "Bytes");
    set(bytes_total_, progress.bytes_total, "Bytes");
    set(layers_done_, progress.layers_done, "Layers");
    set(layers_total_, progress.layers_total, "Layers");
    set(steps_done_, progress.steps_done, "Steps");
    set(steps_total_, progress.steps_total, "Steps");
    if (progress.unit.size() <= max_phase_bytes) set(unit_, bus_text(progress.unit), "Unit");
    arm();
}

std::uint64_t JobObject::microseconds_run() const {
    if (started_.real == 0) return 0;
    return (finished_.real == 0 ? Moment::now() : finished_).monotonic - started_.monotonic;
}

std::string JobObject::how_far() const {
    auto text = fmt::format("{}, {:.0f} %", phase_, std::floor(fraction_ * 100));
    if (layers_total_ != 0) text += fmt::format(", {} of {} layers", layers_done_, layers_total_);
    if (bytes_total_ != 0) text += fmt::format(", {} of {} bytes", bytes_done_, bytes_total_);
    if (steps_total_ != 0) text += fmt::format(", {} of {} {}", steps_done_, steps_total_, unit_);
    return text + fmt::format(", for {:.1f} s", static_cast<double>(microseconds_run()) / 1e6);
}

void JobObject::layer_progressed(const job::LayerProgress& progress, const std::vector<std::string>& callers) {
    if (private_) callers_ = first_callers(callers);
    if (progress.index >= max_layers || progress.digest.size() > max_digest_bytes ||
        progress.state.size() > max_phase_bytes || state_ == job::State::finished) {
        return;
    }
    auto& layer = layers_[progress.index];
    layer.latest = progress;
    layer.latest.digest = bus_text(layer.latest.digest);
    layer.latest.state = bus_text(layer.latest.state);
    layer.pending = true;
    // Signalled at once if no signal was sent lately. Of a layer that begins and ends in between, only the end is.
    arm();
}

job::Result JobObject::finish(const job::Work& work, const job::Result& result,
                              const std::vector<std::string>& callers) {
    if (private_) callers_ = first_callers(callers);
    auto told = result;
    if (told.outcome == job::Outcome::success) {
        try {
            outcome_bytes_ = json_text(*told.details).size();
            if (outcome_bytes_ > job::max_outcome_bytes) throw Error(ErrorKind::failed, "longer than the limit");
            outcome_ = outcome_map(work, *told.details);
        } catch (...) {
            told = job::failed(Error(ErrorKind::failed, current_error().with_context("the worker's result").what()));
            outcome_bytes_ = 0;
        }
    }
    set_now(finished_, "FinishTimestamp");
    set(state_, job::State::finished, "State");
    set(position_, 0U, "Position");
    set(phase_, std::string(to_string(job::Phase::done)), "Phase");
    if (told.outcome == job::Outcome::success) set(fraction_, 1.0, "Fraction");
    set(result_, std::string(to_string(told.outcome)), "Result");
    if (told.outcome != job::Outcome::success) {
        error_name_ =
            bus_error_name(told.error_name.empty() ? ::imaged::error_name(ErrorKind::failed) : told.error_name);
        told.message.resize(std::min(told.message.size(), job::max_error_bytes));
        message_ = bus_text(told.message);
    }
    show_outcome();
    for (auto& [index, layer] : layers_) {
        if (layer.pending) tell_layer(layer);
    }
    layers_.clear();
    tell_properties();
    if (private_) tell_callers(callers_, "Finished", result_, error_name_, message_, outcome_);
    ignoring_errors([this] { emitFinished(result_, shown_error_name_, shown_message_, private_ ? shown_ : outcome_); });
    callers_.clear();
    return told;
}

void JobObject::show_outcome() {
    set(shown_error_name_, private_ ? std::string() : error_name_, "ErrorName");
    set(shown_message_, private_ && !message_.empty() ? std::string(private_message) : message_, "ErrorMessage");
    if (private_) {
        set(complete_, false, "Complete");
        return;
    }
    set(complete_, outcome_bytes_ <= max_shown_bytes, "Complete");
    if (complete_) shown_ = outcome_;
    if (!shown_.empty()) changed_.insert("Outcome");
}

void JobObject::left(const std::vector<std::string>& callers) {
    tell_callers(callers, "Finished", std::string(to_string(job::Outcome::cancelled)),
                 bus_error_name(::imaged::error_name(ErrorKind::cancelled)),
                 fmt::format("job {} was cancelled for you, and goes on for other callers", number(id_)), VariantMap());
}

template <typename... Values>
void JobObject::tell_callers(const std::vector<std::string>& callers, const char* name, const Values&... values) {
    for (const auto& caller : callers) {
        ignoring_errors([&] {
            auto signal = getObject().createSignal(bus::InterfaceName{org::imaged1::Job_adaptor::INTERFACE_NAME},
                                                   bus::SignalName{name});
            (signal << ... << values);
            signal.setDestination(caller);
            getObject().emitSignal(signal);
        });
    }
}

void JobObject::Cancel(sdbus::Result<bool>&& result) {
    with_bus_errors(
        [&] { on_cancel_(id_, bus::sender(getObject()), bus::allows_dialogue(getObject()), std::move(result)); });
}

void JobObject::GetOutcome(OutcomeResult&& result) {
    with_bus_errors([&] { on_outcome_(id_, bus::sender(getObject()), std::move(result)); });
}

void JobObject::arm() {
    if (timer_) return;
    const auto due = reported_at_ + signal_interval - EventLoop::Clock::now();
    timer_ = loop_.after(std::max<EventLoop::Clock::duration>(due, 0ms), [this] { tell(); });
}

void JobObject::tell() {
    reported_at_ = EventLoop::Clock::now();
    tell_properties();
    layer_signals_ = 0;
    for (auto& [index, layer] : layers_) {
        if (!layer.pending) continue;
        if (layer_signals_ == max_layer_signals) return arm();
        tell_layer(layer);
    }
}

void JobObject::tell_properties() {
    if (changed_.empty()) return;
    reported_at_ = EventLoop::Clock::now();
    std::vector<bus::PropertyName> names;
    for (const auto& name : changed_) names.push_back(bus::PropertyName{name});
    changed_.clear();
    ignoring_errors([&] {
        getObject().emitPropertiesChangedSignal(bus::InterfaceName{org::imaged1::Job_adaptor::INTERFACE_NAME}, names);
    });
}

void JobObject::tell_layer(Layer& layer) {
    layer.pending = false;
    ++layer_signals_;
    const auto& latest = layer.latest;
    if (private_)
        return tell_callers(callers_, "LayerProgress", latest.index, latest.digest, latest.state, latest.done,
                            latest.total);
    ignoring_errors([&] { emitLayerProgress(latest.index, latest.digest, latest.state, latest.done, latest.total); });
}

}  // namespace imaged
