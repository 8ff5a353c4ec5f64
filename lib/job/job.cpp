// SPDX-License-Identifier: Apache-2.0
#include "job/job.hpp"

#include <array>
#include <initializer_list>
#include <span>
#include <utility>

#include "base/error.hpp"
#include "base/json-nesting.hpp"

namespace imaged::job {

namespace {

using nlohmann::json;

// An outcome is an object of lists of objects at most.
constexpr std::size_t max_message_depth = 16;

[[noreturn]] void refuse(const std::string& what) {
    throw Error(ErrorKind::failed, "job protocol: " + what);
}

json parse_object(std::string_view line, std::initializer_list<std::string_view> keys) {
    if (line.size() > max_message_bytes) refuse("message is longer than the limit");
    if (nests_deeper_than(line, max_message_depth)) refuse("message is nested too deeply");
    auto document = parse_json(line);
    if (!document.is_object()) refuse("message is not a JSON object");
    for (const auto& [key, value] : document.items()) {
        bool known = false;
        for (const auto candidate : keys) known = known || candidate == key;
        if (!known) refuse("unknown key \"" + key + "\"");
    }
    return document;
}

std::string text(const json& document, const char* key) {
    const auto found = document.find(key);
    if (found == document.end()) return {};
    if (!found->is_string()) refuse(std::string("\"") + key + "\" is not a string");
    return found->get<std::string>();
}

std::uint64_t count(const json& document, const char* key) {
    const auto found = document.find(key);
    if (found == document.end()) return 0;
    if (!found->is_number_unsigned()) refuse(std::string("\"") + key + "\" is not an unsigned number");
    return found->get<std::uint64_t>();
}

template <typename Enum>
Enum one_of(const json& document, const char* key, std::span<const Enum> values) {
    const auto name = text(document, key);
    for (const auto value : values) {
        if (to_string(value) == name) return value;
    }
    refuse(std::string("\"") + key + "\" has the unknown value \"" + name + "\"");
}

// Broken UTF-8 (from a remote error text, say) is replaced: a result must always get through.
std::string line_of(const json& document) {
    return json_text(document) + "\n";
}

}  // namespace

bool Request::operator==(const Request& other) const {
    return kind == other.kind && image == other.image && repository == other.repository && arguments == other.arguments;
}

std::string Request::text(const char* key) const {
    return job::text(arguments, key);
}

bool Request::flag(const char* key) const {
    const auto found = arguments.find(key);
    if (found == arguments.end()) return false;
    if (!found->is_boolean()) refuse(std::string("\"") + key + "\" is not a boolean");
    return found->get<bool>();
}

std::vector<std::string> Request::texts(const char* key) const {
    std::vector<std::string> list;
    const auto found = arguments.find(key);
    if (found == arguments.end()) return list;
    for (const auto& element : *found) {
        if (!found->is_array() || !element.is_string())
            refuse(std::string("\"") + key + "\" is not an array of strings");
        list.push_back(element.get<std::string>());
    }
    return list;
}

std::string_view to_string(Kind kind) {
    switch (kind) {
        case Kind::prepare: return "prepare";
        case Kind::import: return "import";
        case Kind::pull: return "pull";
        case Kind::check: return "check";
        case Kind::check_images: return "check-images";
        case Kind::copy: return "copy";
        case Kind::remove: return "remove";
        case Kind::prune: return "prune";
        case Kind::verify: return "verify";
        case Kind::export_: return "export";
        case Kind::import_archive: return "import-archive";
    }
    return "";
}

std::string_view to_string(State state) {
    switch (state) {
        case State::queued: return "queued";
        case State::running: return "running";
        case State::cancelling: return "cancelling";
        case State::finished: return "finished";
    }
    return "";
}

std::string_view to_string(Outcome outcome) {
    switch (outcome) {
        case Outcome::success: return "success";
        case Outcome::failed: return "failed";
        case Outcome::cancelled: return "cancelled";
    }
    return "";
}

std::string encode(const Request& request) {
    json document{{"kind", to_string(request.kind)},
                  {"image", request.image},
                  {"repository", request.repository},
                  {"arguments", request.arguments},
                  {"settings", to_json(request.settings)}};
    if (request.auth_file) document["auth-file"] = static_cast<std::uint64_t>(*request.auth_file);
    if (request.input_file) document["input-file"] = static_cast<std::uint64_t>(*request.input_file);
    // Unlike a result, a request must not be changed on its way: another path would be another repository.
    try {
        return document.dump() + "\n";
    } catch (const json::type_error&) {
        throw Error(ErrorKind::invalid_argument, "a path or an argument of the job is not UTF-8");
    }
}

Request decode_request(std::string_view line) {
    const auto document =
        parse_object(line, {"kind", "image", "repository", "arguments", "settings", "auth-file", "input-file"});
    Request request;
    request.kind = one_of<Kind>(document, "kind", all_kinds);
    request.image = text(document, "image");
    request.repository = text(document, "repository");
    if (const auto found = document.find("arguments"); found != document.end()) request.arguments = *found;
    if (!request.arguments.is_object()) refuse("\"arguments\" is not an object");
    if (const auto found = document.find("settings"); found != document.end()) {
        if (!found->is_object()) refuse("\"settings\" is not an object");
        request.settings = settings_from_json(*found);
    }
    if (document.contains("auth-file")) request.auth_file = static_cast<int>(count(document, "auth-file"));
    if (document.contains("input-file")) request.input_file = static_cast<int>(count(document, "input-file"));
    if (request.repository.empty()) refuse("request without repository");
    return request;
}

std::string encode(const Message& message) {
    json document;
    if (const auto* progress = std::get_if<Progress>(&message)) {
        document = {{"type", "progress"},
                    {"phase", progress->phase},
                    {"fraction", progress->fraction},
                    {"bytes-done", progress->bytes_done},
                    {"bytes-total", progress->bytes_total},
                    {"layers-done", progress->layers_done},
                    {"layers-total", progress->layers_total},
                    {"steps-done", progress->steps_done},
                    {"steps-total", progress->steps_total},
                    {"unit", progress->unit}};
    } else if (const auto* layer = std::get_if<LayerProgress>(&message)) {
        document = {{"type", "layer"},       {"index", layer->index}, {"digest", layer->digest},
                    {"state", layer->state}, {"done", layer->done},   {"total", layer->total}};
    } else {
        const auto& result = std::get<Result>(message);
        document = {{"type", "result"},
                    {"outcome", to_string(result.outcome)},
                    {"error-name", result.error_name},
                    {"message", result.message},
                    {"details", result.details},
                    {"changed-images", result.changed_images},
                    {"found-updates", result.found_updates}};
    }
    return line_of(document);
}

Message decode_message(std::string_view line) {
    const auto document = parse_object(
        line,
        {"type",       "phase",       "fraction",   "bytes-done", "bytes-total", "layers-done",    "layers-total",
         "steps-done", "steps-total", "unit",       "index",      "digest",      "state",          "done",
         "total",      "outcome",     "error-name", "message",    "details",     "changed-images", "found-updates"});
    const auto type = text(document, "type");
    if (type == "progress") {
        Progress progress;
        progress.phase = text(document, "phase");
        if (const auto found = document.find("fraction"); found != document.end() && found->is_number())
            progress.fraction = found->get<double>();
        progress.bytes_done = count(document, "bytes-done");
        progress.bytes_total = count(document, "bytes-total");
        progress.layers_done = static_cast<std::uint32_t>(count(document, "layers-done"));
        progress.layers_total = static_cast<std::uint32_t>(count(document, "layers-total"));
        progress.steps_done = count(document, "steps-done");
        progress.steps_total = count(document, "steps-total");
        progress.unit = text(document, "unit");
        return progress;
    }
    if (type == "layer") {
        LayerProgress layer;
        layer.index = static_cast<std::uint32_t>(count(document, "index"));
        layer.digest = text(document, "digest");
        layer.state = text(document, "state");
        layer.done = count(document, "done");
        layer.total = count(document, "total");
        return layer;
    }
    if (type != "result") refuse("unknown message type \"" + type + "\"");
    Result result;
    constexpr std::array outcomes{Outcome::success, Outcome::failed, Outcome::cancelled};
    result.outcome = one_of<Outcome>(document, "outcome", outcomes);
    result.error_name = text(document, "error-name");
    result.message = text(document, "message");
    if (document.contains("details") && document["details"].is_object()) result.details = document["details"];
    if (document.contains("changed-images") && document["changed-images"].is_array())
        result.changed_images = document["changed-images"];
    if (document.contains("found-updates") && document["found-updates"].is_array())
        result.found_updates = document["found-updates"];
    return result;
}

}  // namespace imaged::job
