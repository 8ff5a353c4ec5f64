// SPDX-License-Identifier: Apache-2.0
#include "bus/caller-table.hpp"

#include <cstdint>
#include <utility>

#include "base/error.hpp"

namespace imaged {

namespace {

constexpr const char* bus_interface = "org.freedesktop.DBus";
// Calls whose sender is being asked about: a flood is answered with an error instead of memory.
constexpr std::size_t max_waiting_callers = 4096, max_waiting_bytes = 8 * 1024 * 1024;

}  // namespace

CallerTable::CallerTable(sdbus::IConnection& connection, Left left)
    : left_(std::move(left)), bus_(bus::make_proxy(connection, bus_interface, "/org/freedesktop/DBus")) {
    // An empty third argument: the name has no owner any more.
    watch_ = bus::watch(connection, "type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',arg2=''",
                        [this](auto&& message) {
                            std::string name, old_owner, new_owner;
                            try {
                                message >> name >> old_owner >> new_owner;
                            } catch (const sdbus::Error&) {
                                return;
                            }
                            if (!name.starts_with(':') || !new_owner.empty()) return;
                            known_.erase(name);
                            left_(name);
                        });
}

void CallerTable::identify(const std::string& bus_name, std::size_t bytes, Found found) {
    if (const auto entry = known_.find(bus_name); entry != known_.end()) {
        found(Caller{bus_name, entry->second});
        return;
    }
    if (waiting_ >= max_waiting_callers || waiting_bytes_ + bytes > max_waiting_bytes)
        throw Error(ErrorKind::queue_full, "too many calls wait to be authorised");
    ++waiting_;
    waiting_bytes_ += bytes;
    auto& waiting = asked_[bus_name];
    waiting.bytes += bytes;
    waiting.found.push_back(std::move(found));
    if (waiting.found.size() > 1) return;
    bus_->callMethodAsync("GetConnectionUnixUser")
        .onInterface(bus_interface)
        .withArguments(bus_name)
        .uponReplyInvoke([this, bus_name](bus::ReplyError error, std::uint32_t uid) {
            answered(bus_name, error ? std::nullopt : std::optional<uid_t>(uid));
        });
}

void CallerTable::answered(const std::string& bus_name, std::optional<uid_t> uid) {
    const auto waiting = asked_.extract(bus_name).mapped();
    waiting_ -= waiting.found.size();
    waiting_bytes_ -= waiting.bytes;
    if (uid) known_[bus_name] = *uid;
    for (const auto& found : waiting.found) found(uid ? std::optional(Caller{bus_name, *uid}) : std::nullopt);
}

}  // namespace imaged
