// SPDX-License-Identifier: Apache-2.0
#include "process/sleep-inhibitor.hpp"

#include <spdlog/spdlog.h>

#include <utility>

namespace imaged {

namespace {

constexpr const char* logind_name = "org.freedesktop.login1";
constexpr const char* logind_path = "/org/freedesktop/login1";
constexpr const char* logind_interface = "org.freedesktop.login1.Manager";

}  // namespace

SleepInhibitor::SleepInhibitor(sdbus::IConnection& connection)
    : logind_(bus::make_proxy(connection, logind_name, logind_path)) {}

void SleepInhibitor::hold(bool wanted) {
    if (std::exchange(wanted_, wanted) == wanted) return;
    if (!wanted) return lock_.reset();
    try {
        ask();
    } catch (const sdbus::Error& error) {
        spdlog::debug("sleep is not delayed: {}", error.getMessage());
    }
}

void SleepInhibitor::ask() {
    logind_->callMethodAsync("Inhibit")
        .onInterface(logind_interface)
        .withArguments("sleep:shutdown", "imaged", "An image is being written", "delay")
        .uponReplyInvoke([this, number = ++asked_](bus::ReplyError error, sdbus::UnixFd lock) {
            if (error) spdlog::debug("sleep is not delayed: {}", error->getMessage());
            // The job may have ended since, and another one asked.
            if (!error && wanted_ && number == asked_) lock_.reset(lock.release());
        });
}

}  // namespace imaged
