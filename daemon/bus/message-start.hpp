// SPDX-License-Identifier: Apache-2.0
// Parses the fields of a message that imaged needs before libsystemd reads the message. Pure logic.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace imaged {

// Bytes that every message begins with, which say how long it is.
inline constexpr std::size_t message_prefix_bytes = 16;
std::size_t message_length(std::span<const std::byte, message_prefix_bytes> prefix);

struct MessageStart {
    std::optional<std::string> sender;  // a unique name, which the bus has put there
    std::uint32_t descriptors = 0;      // how many come with the message
};
// Parses the header of the message that BYTES begin. Returns nullopt if it is not whole in BYTES or not valid.
std::optional<MessageStart> parse_message_start(std::span<const std::byte> bytes);

}  // namespace imaged
