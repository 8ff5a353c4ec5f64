// SPDX-License-Identifier: Apache-2.0
// What the reader of blobs reads of others: by its first byte a header of a registry, registries.conf (behind the first
// NUL a drop-in of it), credentials, or what the service and the worker tell each other.
#include "input.hpp"
#include "registry/auth-document.hpp"
#include "registry/challenge.hpp"
#include "registry/not-understood.hpp"
#include "registry/registries-conf.hpp"
#include "source/skopeo/blob-request.hpp"

using namespace imaged;

namespace {

void read_headers(std::string_view text) {
    for (const auto& challenge : parse_challenges(text)) {
        fuzz::require(!challenge.scheme.empty(), "a challenge has a scheme");
        fuzz::require(challenge.scheme.find_first_of(" \t,\"=") == std::string::npos, "a scheme is a token");
    }
    const auto pause = parse_retry_after(std::string(text), 0);
    fuzz::require(!pause || (pause->count() >= 0 && pause->count() <= 86400), "a pause is at most a day");
    const auto range = parse_content_range(text);
    fuzz::require(!range || range->first <= range->last, "a range does not end before it begins");
}

void read_configuration(std::string_view text) {
    const auto end = std::min(text.find('\0'), text.size());
    const auto conf = read_registries_conf(
        {std::string(text.substr(0, end)), std::string(text.substr(std::min(end + 1, text.size())))},
        "registry.example/team/app:1");
    fuzz::require(!conf.endpoints.empty(), "somebody is asked");
    for (const auto& endpoint : conf.endpoints) {
        fuzz::require(endpoint.repository.find_first_of("@?#\\ \r\n") == std::string::npos, "a place is no other URL");
        fuzz::require(!endpoint.host().empty() && !endpoint.path().empty(), "a place has a host and a path");
    }
}

void read_credentials(std::string_view text) {
    const AuthDocument document(text);
    const auto login = document.login("registry.example/team/app");
    fuzz::require(!login || login->find(':') != std::string::npos, "a login has a user and a password");
}

void read_protocol(std::string_view text) {
    const auto report = decode_blob_report(text);
    const auto line = encode(report);
    fuzz::require(line.size() <= max_blob_report_bytes && line.find('\n') == line.size() - 1, "a report is one line");
    fuzz::require(decode_blob_report(line).state == report.state, "a report says the same again");
}

void read_request(std::string_view text) {
    const auto request = decode_blob_request(text);
    fuzz::require(request.length > 0 && request.offset + request.length <= request.size, "a part is in its blob");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const auto text = fuzz::text(data + 1, size - 1);
    fuzz::accepted([&] {
        try {
            switch (data[0] % 5) {
                case 0: read_headers(text); break;
                case 1: read_configuration(text); break;
                case 2: read_credentials(text); break;
                case 3: read_protocol(text); break;
                default: read_request(text); break;
            }
        } catch (const NotUnderstood&) {
        }
    });
    return 0;
}
