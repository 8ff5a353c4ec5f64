// SPDX-License-Identifier: Apache-2.0
// The client of skopeo's image proxy: `skopeo experimental-image-proxy` on a SOCK_SEQPACKET pair, one JSON message a
// packet, pipes passed along. skopeo brings transports, mirrors, credentials and the containers policy; what it hands
// out is checked again here where that is possible.
//
// Protocol 0.2.3 or later of the 0.2 line. Thread-safe: several threads may fetch blobs at once over one proxy. The
// process is ended with the object.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <semaphore>
#include <string>

#include "base/cancellation.hpp"
#include "base/json-fwd.hpp"
#include "oci/digest.hpp"
#include "source/blob.hpp"
#include "source/skopeo/skopeo-run.hpp"

namespace imaged {

class ImageProxy {
public:
    // Starts skopeo under the host's containers policy, unless the options have one. CANCELLATION must outlive the
    // proxy. Throws what load_host_policy() throws.
    ImageProxy(const Cancellation& cancellation, const ProxyOptions& options);
    ImageProxy& operator=(ImageProxy&&) = delete;

    // Opens TRANSPORT:NAME; the image stays open for all that follows. Throws Error with the kind that skopeo's message
    // stands for: not_found, source_unreachable, source_denied, policy_rejected, corrupt_input, failed.
    void open_image(const std::string& image) { image_ = open(image); }
    // Whether TRANSPORT:NAME leads to something; false if its source has nothing of this name. Throws otherwise as
    // open_image(), whose image stays open.
    bool has(const std::string& image);

    struct ManifestText {
        Digest digest;     // of the manifest as the source serves it
        std::string text;  // converted to OCI when the source serves a Docker one
    };
    ManifestText manifest();

    // The proxy must outlive the blob. From request_verdict() to finish() no other call gets through to skopeo, which
    // waits for the pipe to be read.
    std::unique_ptr<Blob> blob(const Digest& digest, std::uint64_t size);
    // A whole small blob, verified.
    std::string small_blob(const Digest& digest, std::uint64_t size, std::size_t limit, const std::string& what);

    // False if a reply was not waited for, or did not come: then every call throws Error(source_unreachable).
    bool in_step();

    // The text of the containers policy that holds for this proxy.
    const std::string& policy() const { return *skopeo_->request().policy; }
    // Whether open_image() has refused what the policy does not allow. Proxies before protocol 0.2.6 hand out
    // everything.
    bool enforces_policy() const { return enforces_policy_; }
    const Cancellation& cancellation() const { return cancellation_; }
    std::chrono::milliseconds stall_time() const { return stall_time_; }

private:
    struct Reply;
    class PipeBlob;
    // One request and its reply at a time: the turn is taken before the first and given back after the second, maybe by
    // another thread.
    void take_turn(const std::string& method);
    void wait_for_turn();
    std::uint64_t open(const std::string& image);
    void send_request(const std::string& method, nlohmann::json arguments);
    Reply receive_reply(const std::string& method);
    Reply call(const std::string& method, nlohmann::json arguments);
    std::string read_pipe(Reply reply, std::size_t limit, const std::string& what);
    [[noreturn]] void proxy_died(const std::string& method);

    const Cancellation& cancellation_;
    const std::chrono::milliseconds stall_time_;
    const std::shared_ptr<SkopeoRun> skopeo_;
    std::binary_semaphore turn_{1};
    std::atomic<bool> broken_ = false;  // a reply was not waited for
    bool verdict_due_ = false;          // the next reply is about a blob that was given up; changes in one's turn
    bool initialized_ = false;
    std::uint64_t image_ = 0;
    bool enforces_policy_ = false;
};

// The document that TRANSPORT:NAME serves, unconverted: `skopeo inspect --raw`.
std::string raw_manifest(const std::string& image, const Cancellation& cancellation, const ProxyOptions& options);
// The same; nullopt if the source has nothing of this name. Asks PROXY for the reason of a failure.
std::optional<std::string> find_raw_manifest(const std::string& image, ImageProxy& proxy, const ProxyOptions& options);

}  // namespace imaged
