// SPDX-License-Identifier: Apache-2.0
// Tells, on standard error, of an imaged that could not take its configuration.
#pragma once

#include "bus/connection.hpp"

namespace imagectl {

// Does not start imaged, and tells of no other failure.
void tell_of_configuration(const Bus& bus) noexcept;

}  // namespace imagectl
