// SPDX-License-Identifier: Apache-2.0
// Connects to the bus of another host as systemctl does: through systemd-stdio-bridge(1), started by ssh(1) or, for a
// local container, by machined. Throws BusError.
#pragma once

#include <gio/gio.h>

#include <string>
#include <vector>

#include "bus/connection.hpp"

namespace imagectl {

// The command that leads to BUS, which is one of another machine. $SYSTEMD_SSH names another ssh, as for systemctl.
std::vector<std::string> bridge_command(const Bus& bus);

// Starts it and waits until the bus has answered; what follows in the stream are messages. The stream carries no
// descriptors. The process ends with this one, does not mind SIGINT, and what it says is passed on to standard error.
Object<GIOStream> open_bridge(const Bus& bus);

// Throws UsageError if HOST is not [USER@]HOST[:PORT].
void check_host(const std::string& host);

}  // namespace imagectl
