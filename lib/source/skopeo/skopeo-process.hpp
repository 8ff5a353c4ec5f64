// SPDX-License-Identifier: Apache-2.0
// A skopeo at work for a request: the one way to have one. It is a child of this process or the system's service, as
// the options say; it ends with the object, wherever it is.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "base/cancellation.hpp"
#include "base/error.hpp"
#include "base/file-descriptor.hpp"
#include "base/scratch-directory.hpp"
#include "source/skopeo/process-traffic.hpp"
#include "source/skopeo/proxy-options.hpp"
#include "source/skopeo/skopeo-request.hpp"

namespace imaged {

class SkopeoProcess {
public:
    // Starts it, with the files that this process's environment names in place of the host's
    // (CONTAINERS_REGISTRIES_CONF, CONTAINERS_REGISTRIES_D, which podman and buildah read themselves). LAYOUT, for
    // push, is borrowed. Throws Error(failed) or a system error when there is none to be had.
    SkopeoProcess(SkopeoRequest request, const ProxyOptions& options, std::optional<int> layout = {});
    ~SkopeoProcess();
    SkopeoProcess(const SkopeoProcess&) = delete;
    SkopeoProcess& operator=(const SkopeoProcess&) = delete;

    const SkopeoRequest& request() const { return request_; }
    // Of an image proxy: our end of its protocol.
    int channel() const { return channel_.get(); }
    void close_channel() { channel_.reset(); }

    // What it prints, to its end; of messages, the first LIMIT bytes. Throws Error(unsupported_image) for a manifest
    // that is longer, and Error(source_unreachable)
    // saying that WHAT stalled, when nothing was printed for the stall time, and of a push: nothing read or written.
    std::string output(const Cancellation& cancellation, std::size_t limit, const std::string& what);
    // After output(): its exit status, as wait(2) gives it.
    int wait(const Cancellation& cancellation);
    // Of a check that passed, after wait(): the digest of the manifest that the policy allows.
    std::string checked_manifest() const;
    // ERROR, which skopeo told, with the file of its credentials named as people know it.
    Error named(const Error& error) const;
    // The status of a child that has ended; nothing of one that goes on, or of a service.
    std::optional<int> ended();

private:
    bool is_child() const { return options_.service.empty(); }
    void spawn(int output, std::optional<int> layout);
    void connect(int output, std::optional<int> layout);
    bool has_moved();
    void hear(std::chrono::milliseconds limit);
    void end();

    SkopeoRequest request_;
    const ProxyOptions options_;
    std::string auth_name_;  // of the credentials that it got, for people; empty for none
    pid_t process_ = -1;
    FileDescriptor channel_;  // of an image proxy, or to the service
    FileDescriptor printed_;
    std::optional<ProcessTraffic> traffic_;  // of a child
    bool traffic_told_ = false;              // by the service, since it was asked last
    std::optional<int> status_;
    // Of a child, which has ended before they are removed: where it unpacks archives, and where it copies to.
    std::optional<ScratchDirectory> scratch_;
    std::optional<PolicyLayout> checked_;
    std::string checked_manifest_;  // of the service
};

// An image proxy under the host's containers policy. Throws what load_host_policy() throws, too.
std::shared_ptr<SkopeoProcess> start_image_proxy(const ProxyOptions& options);

struct Credentials {
    FileDescriptor file;  // empty for none
    std::string name;     // for people
};

// The credentials that OPTIONS give, else those of the host for image pulls if OPTIONS allow them and there are any:
// /run/ostree/auth.json, /etc/ostree/auth.json.
Credentials credentials(const ProxyOptions& options);

// Waits until FD is readable or closed; throws Error(cancelled), or Error(source_unreachable) saying that WHAT stalled
// for STALL_TIME.
void wait_readable(int fd, const Cancellation& cancellation, std::chrono::milliseconds stall_time,
                   const std::string& what);

}  // namespace imaged
