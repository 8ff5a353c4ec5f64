// SPDX-License-Identifier: Apache-2.0
// Parses the answers of skopeo's image proxy: one packet of JSON, {"success", "value", "pipeid", "error"}, with a pipe
// if "pipeid" is not 0.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/json-fwd.hpp"

namespace imaged {

// The protocol's own limit of a packet.
inline constexpr std::size_t max_proxy_packet_bytes = 32 * 1024;

struct ProxyReply {
    HeldJson value;
    std::uint64_t pipe_id = 0;
};

// Reads the answer to METHOD, with which DESCRIPTORS descriptors came. Throws what the message of a failure stands for
// (skopeo_error()), and Error(failed) for what is no answer.
ProxyReply parse_proxy_reply(std::string_view packet, std::size_t descriptors, const std::string& method);

}  // namespace imaged
