// SPDX-License-Identifier: Apache-2.0
// Limits the content of a message on every interface: decoding takes many times the bytes of the message, and one
// caller's message must not use the memory that others need. Bus thread only.
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
