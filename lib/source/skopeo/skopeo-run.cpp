// SPDX-License-Identifier: Apache-2.0
#include "source/skopeo/skopeo-run.hpp"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "source/skopeo/signature-policy.hpp"
#include "source/skopeo/skopeo-error.hpp"

namespace imaged {

namespace {

using Clock = std::chrono::steady_clock;

// Credentials of the host for image pulls, in the order in which ostree-ext looks.
constexpr std::array host_auth_files{"/run/ostree/auth.json", "/etc/ostree/auth.json"};

// An empty one is as good as none.
std::optional<std::string> variable(const char* name) {
    const char* value = std::getenv(name);
    return value != nullptr && *value != '\0' ? std::optional<std::string>(value) : std::nullopt;
}

void replace_all(std::string& text, const std::string& from, const std::string& to) {
    for (auto found = text.find(from); found != std::string::npos; found = text.find(from, found + to.size()))
        text.replace(found, from.size(), to);
}

struct Credentials {
    FileDescriptor file;              // empty for none
    std::optional<std::string> name;  // for people
};

// The credentials that OPTIONS give, else those of the host for image pulls if OPTIONS allow them and there are any.
Credentials credentials(const ProxyOptions& options) {
    if (options.auth_file) {
        FileDescriptor copy(::fcntl(*options.auth_file, F_DUPFD_CLOEXEC, 0));
        if (!copy) throw_errno("duplicate a descriptor for skopeo");
        return {std::move(copy), "the authfile"};
    }
    if (!options.host_credentials) return {};
    for (const char* path : host_auth_files) {
        FileDescriptor file(::open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC));
        // Those of the host are not for every user.
        if (!file && (errno == ENOENT || errno == ENOTDIR || errno == EACCES)) continue;
        if (!file) throw_errno(std::string("open ") + path);
        require_file(file.get(), path);
        return {std::move(file), path};
    }
    return {};
}

}  // namespace

std::shared_ptr<SkopeoRun> SkopeoRun::start(SkopeoRequest request, const ProxyOptions& options,
                                            std::optional<int> layout) {
    request.registries_conf = variable("CONTAINERS_REGISTRIES_CONF");
    request.registries_d = variable("CONTAINERS_REGISTRIES_D");
    request.host_credentials = options.host_credentials;
    request.registry = options.registry;
    request.background = options.background;
    if (!options.service && request.kind == SkopeoRequest::Kind::blobs)
        throw Error(ErrorKind::failed, "only the service reads blobs");
    return options.service ? start_service(std::move(request), options, layout)
                           : start_child(std::move(request), options, layout);
}

SkopeoRun::Files SkopeoRun::files(FileDescriptor output) {
    Files files;
    if (has_channel(request_.kind)) {
        files.output = std::move(output);
    } else {
        auto pipe = make_pipe();
        printed_ = std::move(pipe.ours);
        files.output = std::move(pipe.theirs);
    }
    auto [auth, name] = credentials(options_);
    files.auth = std::move(auth);
    auth_name_ = name;
    if (request_.policy) files.policy = memory_file("policy.json", *request_.policy);
    return files;
}

std::string SkopeoRun::output(const Cancellation& cancellation, std::size_t limit, const std::string& what) {
    const bool moving_counts = is_push(request_.kind);
    std::string text;
    auto changed = Clock::now();
    for (;;) {
        cancellation.check();
        const auto left =
            std::chrono::duration_cast<std::chrono::milliseconds>(changed + options_.stall_time - Clock::now());
        if (left.count() <= 0) stalled(what, options_.stall_time);
        pollfd fds[] = {{printed_.get(), POLLIN, 0}, {cancellation.fd(), POLLIN, 0}};
        const int ready = ::poll(fds, 2, static_cast<int>(std::min(left, skopeo_check_interval).count()));
        if (ready < 0 && errno != EINTR) throw_errno("poll");
        if (moving_counts && has_moved()) changed = Clock::now();
        if (ready <= 0 || fds[0].revents == 0) continue;
        std::array<char, 65536> buffer;
        const auto count = ::read(printed_.get(), buffer.data(), buffer.size());
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) throw_errno("read from skopeo");
        if (count == 0) return text;
        changed = Clock::now();
        text.append(buffer.data(), static_cast<std::size_t>(count));
        if (text.size() <= limit) continue;
        if (!prints_messages(request_.kind))
            throw Error(ErrorKind::unsupported_image,
                        what + " is larger than the limit of " + std::to_string(limit) + " bytes");
        text.resize(limit);
    }
}

Error SkopeoRun::named(const Error& error) const {
    std::string text = error.what();
    if (request_.policy) replace_all(text, path_of_descriptor(skopeo_policy), host_policy_path());
    if (!auth_name_) return Error(error.kind(), text);
    replace_all(text, path_of_descriptor(skopeo_auth_file), *auth_name_);
    // Some versions do not say which.
    if (text.find(credentials_words) != std::string::npos && text.find(*auth_name_) == std::string::npos)
        text += " (in " + *auth_name_ + ")";
    return Error(error.kind(), text);
}

std::shared_ptr<SkopeoRun> start_image_proxy(const ProxyOptions& options) {
    return SkopeoRun::start({.kind = SkopeoRequest::Kind::image_proxy, .policy = load_host_policy()}, options);
}

void require_skopeo(const ChildProcess& process) {
    const auto why = process.failure();
    if (!why) return;
    const bool missing = why->ends_with(std::strerror(ENOENT));
    throw Error(ErrorKind::failed, "skopeo could not be started: " + *why + (missing ? "; is it installed?" : ""));
}

void wait_readable(int fd, const Cancellation& cancellation, std::chrono::milliseconds stall_time,
                   const std::string& what) {
    const auto deadline = Clock::now() + stall_time;
    for (;;) {
        cancellation.check();
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
        if (left.count() <= 0) stalled(what, stall_time);
        pollfd fds[] = {{fd, POLLIN, 0}, {cancellation.fd(), POLLIN, 0}};
        const int ready = ::poll(fds, 2, static_cast<int>(left.count()));
        if (ready < 0 && errno != EINTR) throw_errno("poll");
        if (ready > 0 && fds[0].revents != 0) {
            cancellation.check();
            return;
        }
    }
}

void stalled(const std::string& what, std::chrono::milliseconds stall_time) {
    throw Error(ErrorKind::source_unreachable,
                what + " stalled: nothing came for " + std::to_string(stall_time.count() / 1000) + " seconds");
}

}  // namespace imaged
