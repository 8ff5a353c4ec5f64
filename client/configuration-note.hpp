// SPDX-License-Identifier: Apache-2.0
// Warns on standard error if imaged does not use its current configuration.
#pragma once

#include "bus/connection.hpp"

namespace imagectl {

// Does not start imaged. Ignores all other failures.
void tell_of_configuration(const Bus& bus) noexcept;

}  // namespace imagectl
