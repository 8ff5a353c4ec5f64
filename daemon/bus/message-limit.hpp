// SPDX-License-Identifier: Apache-2.0
// How much one message may hold, on every interface: what is decoded takes many times the bytes that came, and one
// caller's message must not take the memory that others need. Bus thread only.
#pragma once

#include <cstddef>

#include "process/sdbus-shim.hpp"

namespace imaged {

// Far more than any call needs, whose text is limited further (options.cpp).
inline constexpr std::size_t max_message_text = 256 * 1024;
inline constexpr std::size_t max_message_values = 16 * 1024;

// From here on CONNECTION answers a call that passes a limit with org.freedesktop.DBus.Error.LimitsExceeded, before
// anything of it is decoded, and drops what is no call. Throws sdbus::Error.
void limit_messages(sdbus::IConnection& connection);

}  // namespace imaged
