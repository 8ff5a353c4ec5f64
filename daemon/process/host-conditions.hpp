// SPDX-License-Identifier: Apache-2.0
// Asks the host's services whether background work may start: NetworkManager whether the network connection is metered,
// UPower whether the host runs on battery. Bus thread only, which never waits.
//
// A service that is not there, does not answer in time or answers something else is as one that has no objection.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "process/sdbus-shim.hpp"

namespace imaged {

class HostConditions {
public:
    // Receives why background work has to wait, for people; nullopt if it need not.
    using Answer = std::function<void(const std::optional<std::string>& reason)>;

    // CONNECTION, of the system's bus, outlives the object.
    explicit HostConditions(sdbus::IConnection& connection);
    // Calls ANSWER once, later. Whether the connection is metered counts for work that uses the NETWORK only.
    void ask(bool network, Answer answer);

private:
    void ask_about_network(const Answer& answer);

    std::unique_ptr<sdbus::IProxy> power_, network_;
};

}  // namespace imaged
