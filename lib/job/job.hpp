// SPDX-License-Identifier: Apache-2.0
// What imaged and imaged-worker say to each other: a job's request, its progress and its result, as plain data.
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

#include "base/json.hpp"
#include "job/settings.hpp"

namespace imaged::job {

// One line, newline included.
inline constexpr std::size_t max_message_bytes = 1024 * 1024;
// Result::details as JSON, and Result::message.
inline constexpr std::size_t max_outcome_bytes = 512 * 1024, max_error_bytes = 8192;

// check_images is many of check, and done by the daemon as such.
enum class Kind { prepare, import, pull, import_archive, copy, export_, check, check_images, remove, prune, verify };
inline constexpr Kind all_kinds[] = {Kind::prepare, Kind::import,  Kind::pull,  Kind::import_archive,
                                     Kind::copy,    Kind::export_, Kind::check, Kind::check_images,
                                     Kind::remove,  Kind::prune,   Kind::verify};

enum class State { queued, running, cancelling, finished };

enum class Outcome { success, failed, cancelled };

// One job. Two equal requests are the same work.
struct Request {
    Kind kind = Kind::pull;
    std::string image;  // image reference in canonical form, with its signature source; empty where a kind has none
    std::string repository;  // absolute path
    // What else the method was given, checked and in canonical form: its options and other arguments, under the names
    // of the interface. What is at its default is absent.
    nlohmann::json arguments = nlohmann::json::object();
    // Numbers of inherited descriptors, never part of equality: registry credentials, and the file that the caller
    // opened.
    std::optional<int> auth_file, input_file;
    // Likewise, but never sent: within a confined worker, the process that changes the repository for the job.
    std::optional<int> publisher;
    // The administrator's, when the job starts; never part of equality.
    Settings settings;
    bool operator==(const Request& other) const;

    // An argument, or its default: empty, false, empty. Throw Error(failed) for one of another type.
    std::string text(const char* key) const;
    bool flag(const char* key) const;
    std::vector<std::string> texts(const char* key) const;
};

struct Progress {
    std::string phase;  // what the interface lists at Job.Phase
    double fraction = 0;
    std::uint64_t bytes_done = 0, bytes_total = 0;  // as the interface says at Job.Bytes
    std::uint32_t layers_done = 0, layers_total = 0;
    // Of jobs that fetch nothing, as the interface says at Job.Steps and Job.Unit.
    std::uint64_t steps_done = 0, steps_total = 0;
    std::string unit;
};

struct LayerProgress {
    std::uint32_t index = 0;  // place in the manifest
    std::string digest;
    std::string state;                  // waiting, fetching, reused, done
    std::uint64_t done = 0, total = 0;  // compressed bytes
};

struct Result {
    Outcome outcome = Outcome::failed;
    std::string error_name;  // "DigestMismatch": no prefix; empty on success
    std::string message;     // the first cause; empty on success
    // Outcome keys as the interface describes them. JSON types stand for D-Bus types: string s, unsigned integer t,
    // boolean b, number d, array of strings as, array of objects aa{sv}, object a{sv}. Keys that need another type
    // on the bus (u, a{ss}, a{sa{su}}) are named in daemon/bus/variant.cpp.
    nlohmann::json details = nlohmann::json::object();
    // Images whose digest changed: {"image": …, "old": …, "new": …}; imaged turns them into ImageChanged signals.
    nlohmann::json changed_images = nlohmann::json::array();
    // Updates that were not known before: {"image": …, "digest": …, "update-digest": …, "update-version": …}; imaged
    // turns them into UpdateFound signals.
    nlohmann::json found_updates = nlohmann::json::array();
};

using Message = std::variant<Progress, LayerProgress, Result>;

std::string_view to_string(Kind kind);
std::string_view to_string(State state);
std::string_view to_string(Outcome outcome);

// One line each, newline included.
std::string encode(const Request& request);
std::string encode(const Message& message);
// Throw Error(failed) naming what is wrong with LINE. Unknown keys are errors: both ends are of one build.
Request decode_request(std::string_view line);
Message decode_message(std::string_view line);

}  // namespace imaged::job
