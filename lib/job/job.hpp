// SPDX-License-Identifier: Apache-2.0
// The messages from imaged-worker to imaged: progress and a result, as plain data. The request is in job/kinds.hpp.
//
// On the wire (an inherited SOCK_STREAM socket) each message is one line of JSON, at most max_message_bytes long:
//   imaged → worker   one Request, then nothing; the socket stays open for as long as imaged lives
//   worker → imaged   any number of Progress and LayerProgress, then exactly one Result
// The worker ends with status 0 once its Result is written, whatever the result says; a worker that ends without
// a Result crashed. Cancelling is SIGTERM. No function here blocks or knows a bus.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/enum-names.hpp"
#include "base/error.hpp"
#include "base/json-fwd.hpp"

namespace imaged::job {

// One line, newline included.
inline constexpr std::size_t max_message_bytes = 1024 * 1024;
// Result::details as JSON, and Result::message.
inline constexpr std::size_t max_outcome_bytes = 512 * 1024, max_error_bytes = 8192;

enum class State { queued, running, cancelling, finished };
constexpr auto names_of(State) {
    return enum_names<State>({{State::queued, "queued"},
                              {State::running, "running"},
                              {State::cancelling, "cancelling"},
                              {State::finished, "finished"}});
}

enum class Outcome { success, failed, cancelled };
constexpr auto names_of(Outcome) {
    return enum_names<Outcome>(
        {{Outcome::success, "success"}, {Outcome::failed, "failed"}, {Outcome::cancelled, "cancelled"}});
}

// The phases that the interface lists at Job.Phase.
enum class Phase {
    waiting,
    manifest,
    fetch,
    copy,
    merge,
    relabel,
    commit,
    write,
    push,
    mark,
    prune,
    count,
    verify,
    hash,
    repair,
    done
};
constexpr auto names_of(Phase) {
    return enum_names<Phase>({{Phase::waiting, "waiting"},
                              {Phase::manifest, "manifest"},
                              {Phase::fetch, "fetch"},
                              {Phase::copy, "copy"},
                              {Phase::merge, "merge"},
                              {Phase::relabel, "relabel"},
                              {Phase::commit, "commit"},
                              {Phase::write, "write"},
                              {Phase::push, "push"},
                              {Phase::mark, "mark"},
                              {Phase::prune, "prune"},
                              {Phase::count, "count"},
                              {Phase::verify, "verify"},
                              {Phase::hash, "hash"},
                              {Phase::repair, "repair"},
                              {Phase::done, "done"}});
}

struct Progress {
    std::string phase;  // the name of a Phase, if the worker is not taken over by an image
    double fraction = 0;
    std::uint64_t bytes_done = 0, bytes_total = 0;  // as the interface says at Job.Bytes
    std::uint32_t layers_done = 0, layers_total = 0;
    // For jobs that fetch nothing; described in the interface at Job.Steps and Job.Unit.
    std::uint64_t steps_done = 0, steps_total = 0;
    std::string unit;

    static void fields(auto& self, auto& fields) {
        fields("phase", self.phase);
        fields("fraction", self.fraction);
        fields("bytes-done", self.bytes_done);
        fields("bytes-total", self.bytes_total);
        fields("layers-done", self.layers_done);
        fields("layers-total", self.layers_total);
        fields("steps-done", self.steps_done);
        fields("steps-total", self.steps_total);
        fields("unit", self.unit);
    }
};

// The states that the interface lists at Job.LayerProgress.
enum class LayerState { waiting, fetching, reused, done };
constexpr auto names_of(LayerState) {
    return enum_names<LayerState>({{LayerState::waiting, "waiting"},
                                   {LayerState::fetching, "fetching"},
                                   {LayerState::reused, "reused"},
                                   {LayerState::done, "done"}});
}

struct LayerProgress {
    std::uint32_t index = 0;  // place in the manifest
    std::string digest;
    std::string state;                  // LayerState
    std::uint64_t done = 0, total = 0;  // compressed bytes

    static void fields(auto& self, auto& fields) {
        fields("index", self.index);
        fields("digest", self.digest);
        fields("state", self.state);
        fields("done", self.done);
        fields("total", self.total);
    }
};

// An image that another manifest, or none, is stored as now; imaged emits ImageChanged for it. A digest is absent if
// there was or is no image.
struct ChangedImage {
    std::string image;
    std::optional<std::string> old_digest, new_digest;

    static void fields(auto& self, auto& fields) {
        fields("image", self.image);
        fields("old", self.old_digest);
        fields("new", self.new_digest);
    }
};

// An update that was not known before; imaged emits UpdateFound for it.
struct FoundUpdate {
    std::string image, digest, update_digest;
    std::optional<std::string> update_version;  // absent if the update names none

    static void fields(auto& self, auto& fields) {
        fields("image", self.image);
        fields("digest", self.digest);
        fields("update-digest", self.update_digest);
        fields("update-version", self.update_version);
    }
};

struct Result {
    Outcome outcome = Outcome::failed;
    std::string error_name;  // "DigestMismatch": no prefix; empty on success
    std::string message;     // the first cause; empty on success
    // The outcome of its kind (job/kinds.hpp) as JSON. If entries had to be left out, "truncated" lists the members
    // that lack some.
    HeldJson details;
    std::vector<ChangedImage> changed_images;
    std::vector<FoundUpdate> found_updates;

    static void fields(auto& self, auto& fields) {
        fields("outcome", self.outcome);
        fields("error-name", self.error_name);
        fields("message", self.message);
        fields("details", self.details);
        fields("changed-images", self.changed_images);
        fields("found-updates", self.found_updates);
    }
};

// The result of a job that ERROR ended; Error(cancelled) is no failure. The message has max_error_bytes at most.
Result failed(const Error& error);

using Message = std::variant<Progress, LayerProgress, Result>;

// One line, newline included.
std::string encode(const Message& message);
// Throws Error(failed) naming what is wrong with LINE. Unknown keys are errors: both ends are of one build.
Message decode_message(std::string_view line);
// LINE as a JSON object that is neither too long nor nested too deeply. Likewise.
nlohmann::json parse_message(std::string_view line);

}  // namespace imaged::job
