// SPDX-License-Identifier: Apache-2.0
#include "source/skopeo/blob-request.hpp"

#include "base/enum-names.hpp"
#include "base/json.hpp"
#include "base/printable.hpp"

namespace imaged {

namespace {

using nlohmann::json;
using State = BlobReport::State;

constexpr auto states = enum_names<State>({
    {State::started, "started"},
    {State::moved, "moved"},
    {State::done, "done"},
    {State::left_to_skopeo, "left-to-skopeo"},
    {State::failed, "failed"},
});
// So that a line fits, however it is escaped.
constexpr std::size_t max_reason_bytes = 512;

// A packet or line as it came.
class BlobMessage {
public:
    explicit BlobMessage(std::string_view text) : document_(parse_json(text)) {
        if (!document_.is_object()) refuse("not a JSON object");
    }

    [[noreturn]] static void refuse(const std::string& why) { throw Error(ErrorKind::failed, "reading blobs: " + why); }
    std::uint64_t number(const char* key) const {
        const auto found = document_.find(key);
        if (found == document_.end() || !found->is_number_unsigned()) refuse(std::string("no number \"") + key + "\"");
        return found->get<std::uint64_t>();
    }
    // False if there is none.
    bool flag(const char* key) const {
        const auto found = document_.find(key);
        if (found == document_.end()) return false;
        if (!found->is_boolean()) refuse(std::string("no \"") + key + "\"");
        return found->get<bool>();
    }
    // Pairs of offset and length.
    std::vector<BlobRange> ranges(const char* key) const {
        const auto found = document_.find(key);
        if (found == document_.end() || !found->is_array() || found->empty() || found->size() % 2 != 0 ||
            found->size() / 2 > max_blob_ranges)
            refuse("no ranges");
        std::vector<BlobRange> ranges;
        for (std::size_t i = 0; i < found->size(); i += 2) {
            const auto &offset = (*found)[i], &length = (*found)[i + 1];
            if (!offset.is_number_unsigned() || !length.is_number_unsigned()) refuse("no ranges");
            ranges.push_back({offset.get<std::uint64_t>(), length.get<std::uint64_t>()});
        }
        return ranges;
    }
    std::string text(const char* key) const {
        const auto found = document_.find(key);
        if (found == document_.end() || !found->is_string()) refuse(std::string("no text \"") + key + "\"");
        return found->get<std::string>();
    }

private:
    const json document_;
};

}  // namespace

std::string encode(const BlobRequest& request) {
    auto ranges = json::array();
    for (const auto& range : request.ranges) {
        ranges.push_back(range.offset);
        ranges.push_back(range.length);
    }
    return json{{"digest", request.digest.text()},
                {"size", request.size},
                {"ranges", std::move(ranges)},
                {"stall-milliseconds", request.stall_time.count()}}
        .dump();
}

BlobRequest decode_blob_request(std::string_view packet) {
    const BlobMessage message(packet);
    const auto digest = Digest::find(message.text("digest"));
    if (!digest) BlobMessage::refuse("no digest");
    BlobRequest request{*digest, message.number("size"), message.ranges("ranges"),
                        std::chrono::milliseconds(message.number("stall-milliseconds") & 0xffffffff)};
    std::uint64_t end = 0;
    for (const auto& range : request.ranges) {
        if (range.length == 0 || request.size > INT64_MAX || range.offset < end || range.offset > request.size ||
            range.length > request.size - range.offset)
            BlobMessage::refuse("no part of the blob");
        end = range.end();
    }
    return request;
}

std::string encode(const BlobReport& report) {
    return json{{"state", states.name(report.state)},
                {"kind", error_name(report.kind)},
                {"message", printable(report.message).substr(0, max_reason_bytes)},
                {"after", report.after},
                {"offset", report.offset},
                {"several", report.several},
                {"pause-milliseconds", report.pause.count()}}
               .dump(-1, ' ', true, json::error_handler_t::replace) +
           "\n";
}

BlobReport decode_blob_report(std::string_view line) {
    const BlobMessage message(line);
    const auto state = states.value(message.text("state"));
    if (!state) BlobMessage::refuse("an unknown state");
    return {.state = *state,
            .kind = error_kind(message.text("kind")),
            .message = printable(message.text("message")),
            .after = *state == State::moved ? message.number("after") : 0,
            .offset = *state == State::moved ? message.number("offset") : 0,
            .several = message.flag("several"),
            .pause = std::chrono::milliseconds(message.number("pause-milliseconds") & 0xffffffff)};
}

}  // namespace imaged
