// SPDX-License-Identifier: Apache-2.0
#include "job/job.hpp"

#include "base/json-nesting.hpp"
#include "job/json-fields.hpp"

namespace imaged::job {

namespace {

using nlohmann::json;

// An outcome is an object of lists of objects at most.
constexpr std::size_t max_message_depth = 16;

// Of each message, the member "type".
constexpr std::string_view type_of(const Progress&) {
    return "progress";
}
constexpr std::string_view type_of(const LayerProgress&) {
    return "layer";
}
constexpr std::string_view type_of(const Result&) {
    return "result";
}

}  // namespace

Result failed(const Error& error) {
    const bool cancelled = error.kind() == ErrorKind::cancelled;
    Result result;
    result.outcome = cancelled ? Outcome::cancelled : Outcome::failed;
    result.error_name = error_name(error.kind());
    result.message = error.what();
    if (result.message.size() > max_error_bytes) result.message.resize(max_error_bytes);
    return result;
}

// Broken UTF-8 (from a remote error text, say) is replaced: a result must always get through.
std::string encode(const Message& message) {
    auto document = std::visit(
        [](const auto& said) {
            auto object = to_json(said);
            object["type"] = type_of(said);
            return object;
        },
        message);
    return json_text(document) + "\n";
}

json parse_message(std::string_view line) {
    if (line.size() > max_message_bytes) refuse_message("message is longer than the limit");
    if (nests_deeper_than(line, max_message_depth)) refuse_message("message is nested too deeply");
    auto document = parse_json(line);
    if (!document.is_object()) refuse_message("message is not a JSON object");
    return document;
}

Message decode_message(std::string_view line) {
    auto document = parse_message(line);
    const auto type = document.value("type", json());
    document.erase("type");
    if (type == type_of(Progress())) return from_json<Progress>(document);
    if (type == type_of(LayerProgress())) return from_json<LayerProgress>(document);
    if (type == type_of(Result())) return from_json<Result>(document);
    refuse_message("unknown message type " + json_text(type));
}

}  // namespace imaged::job
