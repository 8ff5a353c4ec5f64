// SPDX-License-Identifier: Apache-2.0
// What the reader of blobs reads of others: by its first byte a header of a registry, registries.conf (behind the first
// NUL a drop-in of it), credentials, what the service and the worker tell each other, or an answer with several ranges
// (before the first NUL its content type).
#include "input.hpp"
#include "registry/auth-document.hpp"
#include "registry/byte-ranges.hpp"
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
    std::uint64_t end = 0;
    for (const auto& range : request.ranges) {
        fuzz::require(range.length > 0 && range.offset >= end && range.end() <= request.size, "a part is in its blob");
        end = range.end();
    }
}

// Ranges of which the contents are as long as they are.
void read_ranges(std::string_view text) {
    const auto end = std::min(text.find('\0'), text.size());
    const std::vector<BlobRange> ranges{{5, 1}, {100, 20}, {120, 3}};
    const auto body = std::as_bytes(std::span(text.substr(std::min(end + 1, text.size()))));
    std::string whole, in_steps;
    const auto read = [&](std::string& taken, std::size_t step) {
        const auto take = [&](std::span<const std::byte> bytes) {
            taken.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
            fuzz::require(taken.size() <= bytes_of(ranges), "no more comes than was asked for");
        };
        ByteRanges reader(text.substr(0, end), ranges, 1000, take);
        for (std::size_t at = 0; at < body.size(); at += step)
            reader.read(body.subspan(at, std::min(step, body.size() - at)));
    };
    const bool accepted = fuzz::accepted([&] { read(whole, body.size()); });
    fuzz::require(fuzz::accepted([&] { read(in_steps, 3); }) == accepted && in_steps == whole, "steps do not matter");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const auto text = fuzz::text(data + 1, size - 1);
    fuzz::accepted([&] {
        try {
            switch (data[0] % 6) {
                case 0: read_headers(text); break;
                case 1: read_configuration(text); break;
                case 2: read_credentials(text); break;
                case 3: read_protocol(text); break;
                case 4: read_request(text); break;
                default: read_ranges(text); break;
            }
        } catch (const NotUnderstood&) {
        }
    });
    return 0;
}
