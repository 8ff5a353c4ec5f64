// SPDX-License-Identifier: Apache-2.0
// The options of a job for its skopeo processes.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

namespace imaged {

class RateLimit;
class SkopeoRun;

struct ProxyOptions {
    // Socket of a service that runs skopeo (source/skopeo/skopeo-request.hpp); absent: it is a child of this process.
    // "fd:NUMBER" is for a process that may not connect: each packet of a byte that is sent to this SOCK_SEQPACKET
    // socket is answered by an int, which is 0 and has a connection to the service with it, or an errno.
    std::optional<std::string> service;
    // Registry credentials, containers-auth.json(5); borrowed. None: the host's defaults, if they may be used.
    std::optional<int> auth_file;
    // Whether skopeo may log in with what the host or its user has stored.
    bool host_credentials = true;
    // HOST[:PORT] of the image's registry, whose CA certificates skopeo gets without the host's credentials.
    std::optional<std::string> registry;
    // Longest wait for an answer or for the next byte.
    std::chrono::milliseconds stall_time = std::chrono::seconds(30);
    // The limit for all images on the network that are read with these options together; null for no limit.
    std::shared_ptr<RateLimit> rate;
    // Whether skopeo is to leave processor and disk to other processes.
    bool background = false;
    // An image proxy under these options that has been started ahead of time (start_image_proxy()); the first
    // ImageProxy is served by it, and must be the only one.
    std::shared_ptr<SkopeoRun> started;
};

}  // namespace imaged
