// SPDX-License-Identifier: Apache-2.0
// Finds the user of a unique bus name on its own connection, so that it can wait for the answer while a message of the
// other connection is being received. Bus thread only.
#pragma once

#include <sys/types.h>

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "process/event-loop.hpp"
#include "process/sdbus-shim.hpp"

namespace imaged {

class UserFinder {
public:
    // LOOP outlives it. What others send to CONNECTION is read and dropped.
    UserFinder(EventLoop& loop, std::unique_ptr<sdbus::IConnection> connection);
    ~UserFinder() { loop_.unwatch(connection_->getEventLoopPollData().fd); }
    UserFinder& operator=(UserFinder&&) = delete;

    // Returns nullopt when it has left, or the bus does not answer within a second. After that it returns nullopt at
    // once for all names that are not known, until the bus sends something.
    std::optional<uid_t> find(const std::string& bus_name);

private:
    void drain();

    EventLoop& loop_;
    std::unique_ptr<sdbus::IConnection> connection_;
    std::unique_ptr<sdbus::IProxy> bus_;
    // Unique names are never used twice, so what is known of one stays right.
    std::map<std::string, uid_t> known_;
    bool is_silent_ = false;
};

}  // namespace imaged
