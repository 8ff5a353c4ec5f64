// SPDX-License-Identifier: Apache-2.0
// Ways to have a skopeo: as a child of this process, or as a service that the system runs beyond a socket, as a user
// who owns nothing (imaged-proxy.socket). Credentials and channels are descriptors either way.
//
// What goes over the socket, SOCK_SEQPACKET, is one packet: a SkopeoRequest as JSON and its descriptors. From then on
// the socket is that skopeo's channel, if it has one.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/file-descriptor.hpp"

namespace imaged {

struct SkopeoRequest {
    enum class Kind { image_proxy, inspect_raw, push };
    Kind kind = Kind::image_proxy;
    std::string image;            // TRANSPORT:NAME, for inspect_raw and push
    std::string registries_conf;  // a file in place of the host's, empty for none
    std::string tag = {};         // for push: of the image in the OCI layout in the directory that skopeo runs in
};

// Descriptors that a skopeo of ours gets.
inline constexpr int skopeo_channel = 3;
inline constexpr int skopeo_auth_file = 4;

// "skopeo" and its arguments. HAS_AUTH_FILE: credentials are at skopeo_auth_file.
std::vector<std::string> skopeo_command(const SkopeoRequest& request, bool has_auth_file);

// One packet, and back. Throws Error(failed) for what is none.
std::string encode(const SkopeoRequest& request, bool has_auth_file);
struct ReceivedRequest {
    SkopeoRequest request;
    bool has_auth_file = false;
};
ReceivedRequest decode_skopeo_request(std::string_view packet);

// This process's wish: the variable CONTAINERS_REGISTRIES_CONF, which podman and buildah read themselves.
std::string wanted_registries_conf();
// GIVEN, else the host's credentials for image pulls, if any: /run/ostree/auth.json, /etc/ostree/auth.json.
FileDescriptor credentials(std::optional<int> given);

// A child that runs skopeo with CHANNEL as descriptor CHANNEL_NUMBER.
// It runs in DIRECTORY, if one is given.
pid_t spawn_skopeo(const SkopeoRequest& request, int channel, int channel_number, std::optional<int> auth_file,
                   std::optional<int> directory = {});
// Kills the child PROCESS, if it is one, and waits for its end.
void end_process(pid_t process);
// The system's, beyond the socket at PATH; OUTPUT, unless it is negative, is its standard output, or for push its
// standard error; DIRECTORY is for push. Returns the channel. Throws Error(failed) when there is none.
FileDescriptor connect_skopeo(const std::string& path, const SkopeoRequest& request, int output,
                              std::optional<int> auth_file, std::optional<int> directory = {});

}  // namespace imaged
