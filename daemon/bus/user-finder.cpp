// SPDX-License-Identifier: Apache-2.0
#include "bus/user-finder.hpp"

#include <chrono>
#include <cstdint>
#include <utility>

namespace imaged {

namespace {

constexpr const char* bus_interface = "org.freedesktop.DBus";
constexpr std::chrono::seconds patience(1);
constexpr std::size_t max_known = 256;

}  // namespace

UserFinder::UserFinder(EventLoop& loop, std::unique_ptr<sdbus::IConnection> connection)
    : loop_(loop), connection_(std::move(connection)) {
    bus_ = bus::make_proxy(*connection_, bus_interface, "/org/freedesktop/DBus");
    loop_.watch(connection_->getEventLoopPollData().fd, [this] { drain(); });
}

std::optional<uid_t> UserFinder::find(const std::string& bus_name) {
    if (const auto found = known_.find(bus_name); found != known_.end()) return found->second;
    if (is_silent_) return std::nullopt;
    try {
        std::uint32_t uid = 0;
        bus_->callMethod("GetConnectionUnixUser")
            .onInterface(bus_interface)
            .withTimeout(patience)
            .withArguments(bus_name)
            .storeResultsTo(uid);
        if (known_.size() >= max_known) known_.clear();
        return known_[bus_name] = uid;
    } catch (const sdbus::Error& error) {
        is_silent_ = error.getName() == SD_BUS_ERROR_TIMEOUT || error.getName() == SD_BUS_ERROR_NO_REPLY;
        return std::nullopt;
    }
}

void UserFinder::drain() {
    is_silent_ = false;
    const int file = connection_->getEventLoopPollData().fd;
    try {
        while (bus::process(*connection_)) {
        }
    } catch (const sdbus::Error&) {
        // The bus is gone, and with it the other connection, which ends imaged.
        loop_.unwatch(file);
    }
}

}  // namespace imaged
