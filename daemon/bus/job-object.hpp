// SPDX-License-Identifier: Apache-2.0
// One job on the bus: /org/imaged1/job/ID with its properties and signals. Bus thread only.
//
// Changes are collected and signalled at most ten times a second; the end is signalled at once. A signal that the bus
// refuses is lost, which is no error.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>

#include "job-adaptor.hpp"
#include "jobs/job-queue.hpp"
#include "process/bus-error.hpp"
#include "process/event-loop.hpp"

namespace imaged {

class JobObject final : public sdbus::AdaptorInterfaces<org::imaged1::Job_adaptor> {
public:
    // Takes over the answer that Cancel owes to SENDER, who allows a dialogue if INTERACTIVE.
    using OnCancel =
        std::function<void(JobId id, const std::string& sender, bool interactive, sdbus::Result<bool>&& result)>;
    // Takes over the answer that GetOutcome owes to SENDER.
    using OutcomeResult = sdbus::Result<std::string, std::string, std::string, VariantMap>;
    using OnOutcome = std::function<void(JobId id, const std::string& sender, OutcomeResult&& result)>;

    // CONNECTION and LOOP outlive the object.
    JobObject(sdbus::IConnection& connection, EventLoop& loop, const QueuedJob& job, OnCancel on_cancel,
              OnOutcome on_outcome);
    ~JobObject();
    JobObject& operator=(JobObject&&) = delete;

    static sdbus::ObjectPath path(JobId id) {
        return sdbus::ObjectPath{"/org/imaged1/job/" + std::to_string(number(id))};
    }

    void announce() {
        ignoring_errors([this] { getObject().emitInterfacesAddedSignal(); });
    }
    void retract() {
        ignoring_errors([this] { getObject().emitInterfacesRemovedSignal(); });
    }

    void moved(job::State state, std::uint32_t position);
    void progressed(const job::Progress& progress);
    // A private job is reported to the connections CALLERS only.
    void layer_progressed(const job::LayerProgress& layer, const std::vector<std::string>& callers);
    // WORK is what the job did. A RESULT with an outcome that is not one of such work counts as a failure. Returns the
    // result that was reported.
    job::Result finish(const job::Work& work, const job::Result& result, const std::vector<std::string>& callers);

    // Reports the end of the job to CALLERS, connections that gave up their shares; the job goes on for others.
    void left(const std::vector<std::string>& callers);

    JobId id() const { return id_; }
    const job::Traits& traits() const { return traits_; }  // of its kind
    job::State state() const { return state_; }
    const std::string& phase() const { return phase_; }
    std::string how_far() const;  // phase, progress and time, for people
    const std::string& image() const { return image_; }
    bool is_private() const { return private_; }
    std::uint32_t owner() const { return owner_; }
    // The whole end of the job, for its callers and root.
    const std::string& result() const { return result_; }
    const std::string& error_name() const { return error_name_; }
    const std::string& message() const { return message_; }
    const VariantMap& outcome() const { return outcome_; }
    std::size_t outcome_bytes() const { return outcome_bytes_; }
    std::uint64_t bytes_done() const { return bytes_done_; }
    std::uint64_t microseconds_run() const;  // until now, or until it finished

private:
    // Microseconds since 1970, and of CLOCK_MONOTONIC. Both are 0 before it.
    struct Moment {
        std::uint64_t real = 0, monotonic = 0;
        static Moment now();
    };
    struct Layer {
        job::LayerProgress latest;
        bool pending = false;
    };

    void Cancel(sdbus::Result<bool>&& result) override;
    void GetOutcome(OutcomeResult&& result) override;
    std::uint32_t Id() override { return number(id_); }
    std::string Kind() override { return std::string(traits_.name); }
    std::string Image() override { return private_ ? std::string() : image_; }
    std::vector<std::string> Images() override { return private_ ? std::vector<std::string>() : images_; }
    std::uint32_t Owner() override { return owner_; }
    std::string State() override { return std::string(to_string(state_)); }
    std::uint32_t Position() override { return position_; }
    std::string Phase() override { return phase_; }
    double Fraction() override { return fraction_; }
    sdbus::Struct<std::uint64_t, std::uint64_t> Bytes() override { return {bytes_done_, bytes_total_}; }
    sdbus::Struct<std::uint64_t, std::uint64_t> Steps() override { return {steps_done_, steps_total_}; }
    std::string Unit() override { return unit_; }
    sdbus::Struct<std::uint32_t, std::uint32_t> Layers() override { return {layers_done_, layers_total_}; }
    std::uint64_t CreateTimestamp() override { return created_.real; }
    std::uint64_t CreateTimestampMonotonic() override { return created_.monotonic; }
    std::uint64_t StartTimestamp() override { return started_.real; }
    std::uint64_t StartTimestampMonotonic() override { return started_.monotonic; }
    std::uint64_t FinishTimestamp() override { return finished_.real; }
    std::uint64_t FinishTimestampMonotonic() override { return finished_.monotonic; }
    std::string Result() override { return result_; }
    std::string ErrorName() override { return shown_error_name_; }
    std::string ErrorMessage() override { return shown_message_; }
    VariantMap Outcome() override { return shown_; }
    bool Complete() override { return complete_; }

    template <typename Value>
    void set(Value& member, Value value, const char* property);
    void set_now(Moment& moment, const std::string& property);
    void arm();
    void tell();
    void tell_properties();
    void tell_layer(Layer& layer);
    void show_outcome();
    // Sends the signal NAME with VALUES to each of CALLERS.
    template <typename... Values>
    void tell_callers(const std::vector<std::string>& callers, const char* name, const Values&... values);

    EventLoop& loop_;
    OnCancel on_cancel_;
    OnOutcome on_outcome_;

    const JobId id_;
    const job::Traits& traits_;
    const std::vector<std::string> images_;
    const std::string image_;  // the only one of images_
    const std::uint32_t owner_;
    const Moment created_;
    const bool private_;
    job::State state_;
    std::uint32_t position_ = 0;
    std::string phase_{to_string(job::Phase::waiting)};
    double fraction_ = 0;
    std::uint64_t bytes_done_ = 0, bytes_total_ = 0;
    std::uint32_t layers_done_ = 0, layers_total_ = 0;
    std::uint64_t steps_done_ = 0, steps_total_ = 0;
    std::string unit_;
    Moment started_, finished_;
    std::string result_, error_name_, message_;     // whole
    std::string shown_error_name_, shown_message_;  // what everybody may read
    VariantMap outcome_, shown_;
    std::size_t outcome_bytes_ = 0;
    bool complete_ = true;
    std::vector<std::string> callers_;  // of a private job

    std::set<std::string> changed_;
    std::map<std::uint32_t, Layer> layers_;
    std::size_t layer_signals_ = 0;  // since tell() was called last
    EventLoop::Clock::time_point reported_at_{};
    EventLoop::Timer timer_;
};

}  // namespace imaged
