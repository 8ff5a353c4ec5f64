// SPDX-License-Identifier: Apache-2.0
// The requests to skopeo, and the command for each: run in a child of this process, or in a service of the system
// behind a socket, as a user who owns no files (imaged-proxy.socket). Credentials, policy and channels are descriptors
// either way.
//
// One packet goes over the socket, SOCK_SEQPACKET: the request as JSON and its descriptors: what skopeo prints
// to, then credentials, policy and layout, those that there are. From then on the socket is the channel of the image
// proxy, or of the reader of blobs. For the other kinds the service says on it when something has been read or written
// ({"traffic": true}), and how skopeo ended ({"status": N}, of a check that passed also "manifest": the digest of what
// passed). A service that fails says why in the form of the image proxy's protocol ({"success": false, "error": TEXT}),
// for each kind. Who closes the socket ends the skopeo.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/file-descriptor.hpp"
#include "source/skopeo/policy-layout.hpp"

namespace imaged {

struct SkopeoRequest {
    enum class Kind {
        image_proxy,
        inspect_raw,    // prints the manifest that IMAGE serves
        look_up,        // the same; the image may be missing, and no reason is reported
        push,           // the image TAG of an OCI layout whose directory comes with the request, to IMAGE
        push_index,     // likewise the index TAG, without the manifests that it lists, byte for byte
        rewrite_index,  // likewise, as skopeo writes it
        check_policy,   // IMAGE into an OCI layout that seems to have BLOBS, under the policy
        blobs,          // no skopeo: blobs of IMAGE, as they are asked for on the channel (blob-request.hpp)
    };
    Kind kind = Kind::image_proxy;
    std::string image = {};  // TRANSPORT:NAME, but for image_proxy
    std::string tag = {};
    BlobSizes blobs = {};
    // The text of the containers policy that skopeo is to enforce; none for what no policy is about.
    std::optional<std::string> policy = {};
    // Files and directories in place of the host's.
    std::optional<std::string> registries_conf = {}, registries_d = {};
    // Whether skopeo may use what the host has: stored logins, credential helpers, client certificates. Otherwise it
    // logs in with the credentials that come with the request, or nowhere.
    bool host_credentials = true;
    // HOST[:PORT] whose CA certificates serve without the host's client certificates.
    std::optional<std::string> registry = {};
    // Whether skopeo is to leave processor and disk to other processes.
    bool background = false;
};

// Whether the socket stays a channel of requests, and what is printed goes nowhere.
bool has_channel(SkopeoRequest::Kind kind);
// Whether skopeo reads a layout that comes with the request.
bool is_push(SkopeoRequest::Kind kind);
// Whether what skopeo prints is its standard error rather than its standard output.
bool prints_messages(SkopeoRequest::Kind kind);

// Whether skopeo's error messages are discarded.
inline bool is_quiet(SkopeoRequest::Kind kind) {
    return kind == SkopeoRequest::Kind::look_up;
}

// Descriptors that a skopeo of ours gets.
inline constexpr int skopeo_channel = 3;
inline constexpr int skopeo_auth_file = 4;
inline constexpr int skopeo_policy = 5;
// Much larger than usual containers-auth.json(5) and containers-policy.json(5) files.
inline constexpr std::size_t max_skopeo_file_bytes = 1024 * 1024;
// The most descriptors in a packet: output, credentials, policy, layout.
inline constexpr std::size_t max_skopeo_descriptors = 4;

// Returns "skopeo" and its arguments. HAS_AUTH_FILE: credentials are at skopeo_auth_file. The policy, if any, is at
// skopeo_policy. LAYOUT is the directory that a push reads, or that check_policy writes. SCRATCH, unless it is empty,
// is the directory for temporary files. Without the host's credentials, makes a directory in SCRATCH
// (ca-certificates.hpp); then run skopeo with an environment that has neither PATH, where it looks for credential
// helpers, nor HOME.
std::vector<std::string> skopeo_command(const SkopeoRequest& request, bool has_auth_file, const std::string& layout,
                                        const std::string& scratch);

// The text of one packet, and back; the policy's text is left to its descriptor. Throws Error(failed) for what is none.
std::string encode(const SkopeoRequest& request, bool has_auth_file);
struct ReceivedRequest {
    SkopeoRequest request;
    bool has_auth_file = false, has_policy = false;
};
ReceivedRequest decode_skopeo_request(std::string_view packet);

}  // namespace imaged
