// SPDX-License-Identifier: Apache-2.0
#include "bus/polkit-authority.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <utility>
#include <vector>

#include "base/error.hpp"

#include "base/printable.hpp"

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
// Questions that wait for an answer. A person answers one at a time.
constexpr std::size_t max_pending_per_user = 16, max_pending = 256;

std::string detail(const std::string& given) {
    return shortened(printable(given), max_detail_bytes);
}

// polkit wants a name that is unique for each of its clients.
std::string cancellation_id(std::uint64_t number) {
    return "imaged-" + std::to_string(number);
}

// Why polkit, which answered with CHALLENGE and DETAILS, does not allow it.
std::string reason(bool challenge, const Details& details, bool interactive) {
    if (details.contains("polkit.dismissed")) return "the authentication was dismissed";
    if (!challenge) return "polkit does not allow it";
    return interactive
               ? "polkit wants somebody to authenticate, and there is no agent that could ask: start pkttyagent or "
                 "that of the desktop"
               : "polkit wants somebody to authenticate, and the call does not allow a dialogue";
}

std::string failure_reason(const std::string& name, const std::string& message) {
    const bool missing = name == "org.freedesktop.DBus.Error.ServiceUnknown" ||
                         name == "org.freedesktop.DBus.Error.NameHasNoOwner" ||
                         name.starts_with("org.freedesktop.DBus.Error.Spawn.");
    return missing ? "polkit, which would decide, is not there" : "polkit does not answer: " + printable(message);
}

}  // namespace

PolkitAuthority::PolkitAuthority(sdbus::IConnection& connection)
    : polkit_(bus::make_proxy(connection, polkit_name, polkit_path)) {}

void PolkitAuthority::check(const Question& question, Answer answer) {
    if (trusts(question.caller)) {
        answer({true, {}});
        return;
    }
    const sdbus::Struct<std::string, std::map<std::string, sdbus::Variant>> subject{
        "system-bus-name", {{"name", sdbus::Variant{question.caller.bus_name}}}};
    Details details;
    for (const auto& [name, value] : question.options) details[name] = detail(value);
    details["image"] = detail(question.image);
    const auto id = action_id(question.action);
    const auto time = question.interactive ? person_time : rule_time;
    require_room(question.caller);
    const auto number = ++last_id_;
    pending_[number] = {question.caller, std::move(answer)};
    polkit_->callMethodAsync("CheckAuthorization")
        .onInterface(polkit_interface)
        .withTimeout(time)
        .withArguments(subject, id, details, question.interactive ? allow_interaction : 0U, cancellation_id(number))
        .uponReplyInvoke([this, id, number, interactive = question.interactive](
                             bus::ReplyError error, const sdbus::Struct<bool, bool, Details>& reply) {
            if (!pending_.contains(number)) return;  // withdrawn
            if (error) spdlog::warn("polkit does not say whether {} is allowed: {}", id, error->getMessage());
            answered(number, static_cast<bool>(error),
                     error ? Verdict{false, failure_reason(error->getName(), error->getMessage())}
                           : Verdict{std::get<0>(reply), reason(std::get<1>(reply), std::get<2>(reply), interactive)});
        });
}

void PolkitAuthority::require_room(const Caller& caller) const {
    const auto of_user = std::count_if(pending_.begin(), pending_.end(),
                                       [&](const auto& entry) { return entry.second.caller.uid == caller.uid; });
    if (static_cast<std::size_t>(of_user) >= max_pending_per_user)
        throw Error(ErrorKind::queue_full, "the queue is full: " + std::to_string(max_pending_per_user) +
                                               " calls of user " + std::to_string(caller.uid) +
                                               " wait for an authorisation");
    if (pending_.size() >= max_pending)
        throw Error(ErrorKind::queue_full,
                    "the queue is full: " + std::to_string(max_pending) + " calls wait for an authorisation");
}

void PolkitAuthority::answered(std::uint64_t id, bool failed, const Verdict& verdict) {
    const auto pending = pending_.extract(id);
    // polkit may still be showing its dialogue.
    if (failed) withdraw(id);
    pending.mapped().answer(verdict);
}

void PolkitAuthority::withdraw(std::uint64_t id) {
    try {
        polkit_->callMethodAsync("CancelCheckAuthorization")
            .onInterface(polkit_interface)
            .withArguments(cancellation_id(id))
            .uponReplyInvoke([](bus::ReplyError) {});
    } catch (const sdbus::Error&) {
        // Without a bus there is no polkit either.
    }
}

void PolkitAuthority::caller_left(const std::string& bus_name) {
    std::vector<std::uint64_t> questions;
    for (const auto& [id, pending] : pending_)
        if (pending.caller.bus_name == bus_name) questions.push_back(id);
    for (const auto id : questions) {
        const auto pending = pending_.extract(id);
        withdraw(id);
        pending.mapped().answer({false, "the caller has left"});
    }
}

}  // namespace imaged
