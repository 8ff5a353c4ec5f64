// SPDX-License-Identifier: Apache-2.0
// A running skopeo for a request. It is a child of this process (skopeo-child.cpp) or the system's service
// (skopeo-service.cpp), as the options say; it ends with the object, wherever it is.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "base/cancellation.hpp"
#include "base/child-process.hpp"
#include "base/error.hpp"
#include "base/file-descriptor.hpp"
#include "source/skopeo/proxy-options.hpp"
#include "source/skopeo/skopeo-request.hpp"

namespace imaged {

// Interval of the checks whether skopeo makes progress and whether the job is cancelled.
inline constexpr std::chrono::milliseconds skopeo_check_interval(500);

class SkopeoRun {
public:
    // Starts it, with the files that this process's environment names in place of the host's
    // (CONTAINERS_REGISTRIES_CONF, CONTAINERS_REGISTRIES_D, which podman and buildah read themselves). LAYOUT, for
    // push, is borrowed. Throws Error(failed) or a system error when there is none to be had.
    static std::shared_ptr<SkopeoRun> start(SkopeoRequest request, const ProxyOptions& options,
                                            std::optional<int> layout = {});
    virtual ~SkopeoRun() = default;
    SkopeoRun& operator=(SkopeoRun&&) = delete;

    const SkopeoRequest& request() const { return request_; }
    // Whether it runs as a service, as a user who owns no files.
    bool by_service() const { return options_.service.has_value(); }
    // Our end of the image proxy's protocol. Only for a request of the kind image_proxy.
    int channel() const { return channel_.get(); }

    // Reads its output to the end. For log output, keeps the first LIMIT bytes. Throws Error(unsupported_image) for a
    // manifest that is longer, and Error(source_unreachable), naming WHAT, if skopeo prints nothing for the stall time
    // (for a push: if it reads and writes nothing).
    std::string output(const Cancellation& cancellation, std::size_t limit, const std::string& what);
    // Returns its exit status, as wait(2) gives it. Call after output(). Throws Error(failed) if skopeo could not be
    // run.
    virtual int wait(const Cancellation& cancellation) = 0;
    // Its exit status if it ends within LIMIT, else nullopt. A service's skopeo is not waited for: its status is known
    // once the service has reported it. Throws as wait() does.
    virtual std::optional<int> ended_within(std::chrono::milliseconds limit) = 0;
    // Returns the digest of the manifest that the policy allows. Call after wait(), for a check that passed.
    virtual std::string checked_manifest() const = 0;
    // Returns ERROR, which skopeo reported, with the paths that the user knows in place of skopeo's copies of the
    // policy and the credentials.
    Error named(const Error& error) const;

protected:
    SkopeoRun(SkopeoRequest request, const ProxyOptions& options) : request_(std::move(request)), options_(options) {}

    // Whether it has read or written anything since this was asked last, sockets included.
    virtual bool has_moved() = 0;

    struct Files {
        FileDescriptor output, auth, policy;  // empty for none
    };
    // The files that skopeo gets: OUTPUT of an image proxy, else an end of a pipe; credentials and policy of the
    // request.
    Files files(FileDescriptor output);

    SkopeoRequest request_;
    const ProxyOptions options_;
    FileDescriptor channel_;  // of an image proxy, or to the service

private:
    static std::shared_ptr<SkopeoRun> start_child(SkopeoRequest request, const ProxyOptions& options,
                                                  std::optional<int> layout);
    static std::shared_ptr<SkopeoRun> start_service(SkopeoRequest request, const ProxyOptions& options,
                                                    std::optional<int> layout);

    FileDescriptor printed_;
    std::optional<std::string> auth_name_;  // of the credentials that it got, for people
};

// An image proxy under the host's containers policy. Throws what load_host_policy() throws, too.
std::shared_ptr<SkopeoRun> start_image_proxy(const ProxyOptions& options);

// Throws Error(failed) with the cause if PROCESS, which has ended, was to become a skopeo and could not.
void require_skopeo(const ChildProcess& process);

// Waits until FD is readable or closed; throws Error(cancelled), or Error(source_unreachable) saying that WHAT stalled
// for STALL_TIME.
void wait_readable(int fd, const Cancellation& cancellation, std::chrono::milliseconds stall_time,
                   const std::string& what);
[[noreturn]] void stalled(const std::string& what, std::chrono::milliseconds stall_time);

}  // namespace imaged
