// SPDX-License-Identifier: Apache-2.0
// Calls the method Changes for images, and adds what it finds to another answer about the same images.
#pragma once

#include <map>
#include <string>

#include "bus/connection.hpp"
#include "bus/job-monitor.hpp"

namespace imagectl {

// Its outcome with the one OPTION, whose value VALUE is. Throws BusError, also where the job fails.
Dictionary image_changes(const Connection& connection, const std::string& image, const char* option, Variant value);

// Returns the changes of each update that the check JOB found. If they are not known, `unknown` says why.
std::map<std::string, Dictionary> update_changes(const Connection& connection, const FollowedJob& job);

}  // namespace imagectl
