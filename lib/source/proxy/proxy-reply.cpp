// SPDX-License-Identifier: Apache-2.0
#include "source/proxy/proxy-reply.hpp"

#include "base/error.hpp"
#include "base/json-nesting.hpp"
#include "base/json.hpp"
#include "source/skopeo/skopeo-error.hpp"

namespace imaged {

using nlohmann::json;

namespace {

// An answer is an object whose value is a list of objects at most.
constexpr std::size_t max_reply_depth = 8;

}  // namespace

ProxyReply parse_proxy_reply(std::string_view packet, std::size_t descriptors, const std::string& method) {
    const auto nonsense = [&](const std::string& why) {
        return Error(ErrorKind::failed, "skopeo's answer to " + method + " " + why);
    };
    if (packet.size() > max_proxy_packet_bytes)
        throw nonsense("is longer than " + std::to_string(max_proxy_packet_bytes) + " bytes");
    if (nests_deeper_than(packet, max_reply_depth)) throw nonsense("is nested too deeply");
    const auto document = parse_json(packet);
    if (!document.is_object()) throw nonsense("is not a JSON object");
    const auto success = document.find("success");
    if (success == document.end() || !success->is_boolean()) throw nonsense("does not say whether it succeeded");
    if (!success->get<bool>()) {
        const auto error = document.find("error");
        throw skopeo_error(error != document.end() && error->is_string() ? error->get<std::string>()
                                                                         : method + " failed without a message");
    }
    ProxyReply reply;
    if (const auto id = document.find("pipeid"); id != document.end() && id->is_number_unsigned())
        reply.pipe_id = id->get<std::uint64_t>();
    if ((reply.pipe_id != 0) != (descriptors == 1) || descriptors > 1) throw nonsense("has a pipe that does not fit");
    reply.value = HeldJson(document.value("value", json()));
    return reply;
}

}  // namespace imaged
