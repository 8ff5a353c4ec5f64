// SPDX-License-Identifier: Apache-2.0
#include "polkit-authority.hpp"

#include <spdlog/spdlog.h>

#include <chrono>
#include <map>
#include <utility>

namespace imaged {

namespace {

using namespace std::chrono_literals;
using Details = std::map<std::string, std::string>;

constexpr const char* polkit_name = "org.freedesktop.PolicyKit1";
constexpr const char* polkit_path = "/org/freedesktop/PolicyKit1/Authority";
constexpr const char* polkit_interface = "org.freedesktop.PolicyKit1.Authority";
constexpr std::uint32_t allow_interaction = 1;
// A rule is evaluated at once, but polkit may have to be started; a person needs time to find the password.
constexpr std::chrono::seconds rule_time = 20s, person_time = 5min;
// What a reference or an option may put into a dialogue and into polkit's log.
constexpr std::size_t max_detail_bytes = 1024;

std::string detail(const std::string& text) {
    if (text.size() <= max_detail_bytes) return text;
    auto end = max_detail_bytes;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
    return text.substr(0, end) + "…";
}

}  // namespace

PolkitAuthority::PolkitAuthority(sdbus::IConnection& connection) {
    polkit_ = sdbus::createProxy(connection, bus::ServiceName{polkit_name}, sdbus::ObjectPath{polkit_path});
    bus::finish(*polkit_);
}

std::string PolkitAuthority::action_id(Action action) {
    return "org.imaged1." + std::string(action_name(action));
}

void PolkitAuthority::check(const Question& question, Answer answer) {
    if (question.caller.uid == 0) {
        answer(true);
        return;
    }
    const sdbus::Struct<std::string, std::map<std::string, sdbus::Variant>> subject{
        "system-bus-name", {{"name", sdbus::Variant{question.caller.bus_name}}}};
    Details details;
    for (const auto& [name, value] : question.options) details[name] = detail(value);
    details["image"] = detail(question.image);
    const auto id = action_id(question.action);
    const auto time = question.interactive ? person_time : rule_time;
    polkit_->callMethodAsync("CheckAuthorization")
        .onInterface(polkit_interface)
        .withTimeout(time)
        .withArguments(subject, id, details, question.interactive ? allow_interaction : 0U, std::string())
        .uponReplyInvoke(
            [id, answer = std::move(answer)](bus::ReplyError error, const sdbus::Struct<bool, bool, Details>& reply) {
                if (error) spdlog::warn("polkit does not say whether {} is allowed: {}", id, error->getMessage());
                answer(!error && std::get<0>(reply));
            });
}

}  // namespace imaged
