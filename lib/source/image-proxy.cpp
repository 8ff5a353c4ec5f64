// SPDX-License-Identifier: Apache-2.0
#include "source/image-proxy.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "base/checksum.hpp"
#include "base/error.hpp"
#include "oci/image-config.hpp"
#include "oci/manifest.hpp"
#include "source/skopeo-error.hpp"

namespace imaged {

namespace {

using nlohmann::json;

constexpr std::size_t max_packet_bytes = 32 * 1024;  // the protocol's own limit
constexpr int proxy_socket = 3;                      // number of the socket in the child
constexpr int proxy_auth_file = 4;
// Linux lets an unprivileged process have this much; the default of 64 KiB costs a context switch for each.
constexpr int pipe_bytes = 1024 * 1024;
// Credentials of the host for image pulls, in the order in which ostree-ext looks.
constexpr std::array host_auth_files{"/run/ostree/auth.json", "/etc/ostree/auth.json"};

// Runs skopeo with CHANNEL_FD as descriptor CHILD_FD and the auth file, if any, as proxy_auth_file.
pid_t spawn_skopeo(std::vector<std::string> arguments, int channel, int child_fd, std::optional<int> auth_file) {
    std::string auth_argument;
    if (auth_file) {
        auth_argument = "--authfile=/proc/self/fd/" + std::to_string(proxy_auth_file);
    } else {
        for (const char* path : host_auth_files) {
            if (::access(path, R_OK) == 0) {
                auth_argument = std::string("--authfile=") + path;
                break;
            }
        }
    }
    if (!auth_argument.empty()) arguments.push_back(auth_argument);
    // podman and buildah read this variable themselves; skopeo has an option instead.
    if (const char* registries = std::getenv("CONTAINERS_REGISTRIES_CONF");
        registries != nullptr && *registries != '\0')
        arguments.insert(arguments.begin() + 1, std::string("--registries-conf=") + registries);
    std::vector<char*> argv;
    for (auto& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    // Descriptors that dup2() must not overwrite are moved out of its way first.
    FileDescriptor moved_channel(::fcntl(channel, F_DUPFD_CLOEXEC, 10));
    FileDescriptor moved_auth(auth_file ? ::fcntl(*auth_file, F_DUPFD_CLOEXEC, 10) : -1);
    if (!moved_channel || (auth_file && !moved_auth)) throw_errno("duplicate a descriptor for skopeo");
    const pid_t process = ::fork();
    if (process < 0) throw_errno("fork");
    if (process == 0) {
        // Only async-signal-safe calls from here on: other threads of this process are gone with their locks.
        if (::dup2(moved_channel.get(), child_fd) < 0 || (moved_auth && ::dup2(moved_auth.get(), proxy_auth_file) < 0))
            ::_exit(126);
        ::execvp(argv[0], argv.data());
        ::_exit(127);
    }
    return process;
}

void end_process(pid_t process) {
    if (process <= 0) return;
    ::kill(process, SIGKILL);
    while (::waitpid(process, nullptr, 0) < 0 && errno == EINTR) {
    }
}

}  // namespace

void wait_readable(int fd, const Cancellation& cancellation, std::chrono::milliseconds stall_time,
                   const std::string& what) {
    const auto deadline = std::chrono::steady_clock::now() + stall_time;
    for (;;) {
        cancellation.check();
        const auto left =
            std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
        if (left.count() <= 0)
            throw Error(ErrorKind::source_unreachable,
                        what + " stalled: nothing came for " + std::to_string(stall_time.count() / 1000) + " seconds");
        pollfd fds[] = {{fd, POLLIN, 0}, {cancellation.fd(), POLLIN, 0}};
        const int ready = ::poll(fds, 2, static_cast<int>(left.count()));
        if (ready < 0 && errno != EINTR) throw_errno("poll");
        if (ready > 0 && fds[0].revents != 0) {
            cancellation.check();
            return;
        }
    }
}

ImageProxy::ImageProxy(const Cancellation& cancellation, const ProxyOptions& options)
    : cancellation_(cancellation), options_(options) {
    int pair[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) throw_errno("socketpair");
    socket_.reset(pair[0]);
    const FileDescriptor theirs(pair[1]);
    process_ = spawn_skopeo({"skopeo", "experimental-image-proxy", "--sockfd", std::to_string(proxy_socket)},
                            theirs.get(), proxy_socket, options_.auth_file);
}

ImageProxy::~ImageProxy() {
    socket_.reset();
    end_process(process_);
}

void ImageProxy::proxy_died(const std::string& method) {
    int status = 0;
    std::string how = "closed its socket";
    // It may still be on its way out.
    for (int attempt = 0; attempt < 50 && process_ > 0; ++attempt) {
        if (::waitpid(process_, &status, WNOHANG) == process_) {
            process_ = -1;
            if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
                throw Error(ErrorKind::failed, "skopeo could not be started; is it installed?");
            how = WIFEXITED(status) ? "ended with status " + std::to_string(WEXITSTATUS(status))
                                    : "was killed by signal " + std::to_string(WTERMSIG(status));
            break;
        }
        ::usleep(10'000);
    }
    throw Error(ErrorKind::failed, "skopeo's image proxy " + how + " during " + method);
}

void ImageProxy::take_turn(const std::string& method) {
    while (!turn_.try_acquire_for(std::chrono::milliseconds(100))) cancellation_.check();
    if (broken_) {
        turn_.release();
        throw Error(ErrorKind::failed, method + ": the connection to skopeo is out of step after an earlier failure");
    }
}

ImageProxy::Reply ImageProxy::call(const std::string& method, json arguments) {
    take_turn(method);
    try {
        send_request(method, std::move(arguments));
        auto reply = receive_reply(method);
        turn_.release();
        return reply;
    } catch (...) {
        turn_.release();
        throw;
    }
}

void ImageProxy::send_request(const std::string& method, json arguments) {
    const auto request = json{{"method", method}, {"args", std::move(arguments)}}.dump();
    if (request.size() > max_packet_bytes)
        throw Error(ErrorKind::invalid_argument, method + ": the request is longer than the protocol allows");
    if (::send(socket_.get(), request.data(), request.size(), MSG_NOSIGNAL) < 0) {
        if (errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN) proxy_died(method);
        throw_errno("send to skopeo");
    }
}

ImageProxy::Reply ImageProxy::receive_reply(const std::string& method) {
    // Until it is here: what comes late must not be taken for the answer to the next request.
    broken_ = true;
    wait_readable(socket_.get(), cancellation_, options_.stall_time, "skopeo's answer to " + method);
    // One byte more than allowed, so that an oversized packet shows.
    std::vector<char> packet(max_packet_bytes + 1);
    iovec buffer{packet.data(), packet.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(4 * sizeof(int))];
    msghdr message{};
    message.msg_iov = &buffer;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    ssize_t size;
    do {
        size = ::recvmsg(socket_.get(), &message, MSG_CMSG_CLOEXEC);
    } while (size < 0 && errno == EINTR);
    if (size < 0 && errno != ECONNRESET) throw_errno("receive from skopeo");
    if (size <= 0) proxy_died(method);

    Reply reply;
    std::size_t descriptors = 0;
    for (auto* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
        const std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (std::size_t i = 0; i < count; ++i) {
            int fd;
            std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof fd);
            reply.pipe.reset(fd);
            ++descriptors;
        }
    }
    const auto nonsense = [&](const std::string& why) {
        return Error(ErrorKind::failed, "skopeo's answer to " + method + " " + why);
    };
    broken_ = false;
    if (static_cast<std::size_t>(size) > max_packet_bytes || (message.msg_flags & MSG_TRUNC) != 0)
        throw nonsense("is longer than " + std::to_string(max_packet_bytes) + " bytes");
    const auto document = json::parse(packet.data(), packet.data() + size, nullptr, false);
    if (!document.is_object()) throw nonsense("is not a JSON object");
    const auto success = document.find("success");
    if (success == document.end() || !success->is_boolean()) throw nonsense("does not say whether it succeeded");
    if (!success->get<bool>()) {
        const auto error = document.find("error");
        throw skopeo_error(error != document.end() && error->is_string() ? error->get<std::string>()
                                                                         : method + " failed without a message");
    }
    if (const auto id = document.find("pipeid"); id != document.end() && id->is_number_unsigned())
        reply.pipe_id = id->get<std::uint64_t>();
    if ((reply.pipe_id != 0) != (descriptors == 1) || descriptors > 1) throw nonsense("has a pipe that does not fit");
    if (const auto value = document.find("value"); value != document.end()) reply.value = *value;
    if (reply.pipe) ::fcntl(reply.pipe.get(), F_SETPIPE_SZ, pipe_bytes);  // refused above the user's quota: only slower
    return reply;
}

void ImageProxy::open_image(const std::string& image) {
    const auto version = call("Initialize", json::array()).value;
    if (!version.is_string() || !version.get_ref<const std::string&>().starts_with("0.2."))
        throw Error(ErrorKind::failed, "skopeo's image proxy speaks protocol " + version.dump() + ", not 0.2");
    const auto id = call("OpenImage", json::array({image})).value;
    if (!id.is_number_unsigned()) throw Error(ErrorKind::failed, "skopeo's answer to OpenImage is not a number");
    image_ = id.get<std::uint64_t>();
}

class ImageProxy::PipeBlob : public Blob {
public:
    PipeBlob(ImageProxy& proxy, FileDescriptor pipe, std::uint64_t id)
        : proxy_(proxy), pipe_(std::move(pipe)), id_(id) {}
    ~PipeBlob() override {
        if (!asked_) return;
        // Nobody waits for the answer.
        proxy_.broken_ = true;
        proxy_.turn_.release();
    }

    int fd() const override { return pipe_.get(); }
    void request_verdict() override {
        if (asked_) return;
        proxy_.take_turn("FinishPipe");
        asked_ = true;
        proxy_.send_request("FinishPipe", json::array({id_}));
    }
    void finish() override {
        request_verdict();
        pipe_.reset();
        proxy_.receive_reply("FinishPipe");
        asked_ = false;
        proxy_.turn_.release();
    }

private:
    ImageProxy& proxy_;
    FileDescriptor pipe_;
    const std::uint64_t id_;
    bool asked_ = false;
};

std::string ImageProxy::read_pipe(Reply reply, std::size_t limit, const std::string& what) {
    if (!reply.pipe) throw Error(ErrorKind::failed, "skopeo sent no pipe for the " + what);
    PipeBlob pipe(*this, std::move(reply.pipe), reply.pipe_id);
    pipe.request_verdict();
    std::string text;
    std::array<char, 65536> buffer;
    for (;;) {
        wait_readable(pipe.fd(), cancellation_, options_.stall_time, "the " + what);
        const auto count = ::read(pipe.fd(), buffer.data(), buffer.size());
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) throw_errno("read the " + what);
        if (count == 0) break;
        text.append(buffer.data(), static_cast<std::size_t>(count));
        if (text.size() > limit)
            throw Error(ErrorKind::unsupported_image,
                        "the " + what + " is larger than the limit of " + std::to_string(limit) + " bytes");
    }
    pipe.finish();
    return text;
}

ImageProxy::ManifestText ImageProxy::manifest() {
    auto reply = call("GetManifest", json::array({image_}));
    if (!reply.value.is_string()) throw Error(ErrorKind::failed, "skopeo's answer to GetManifest has no digest");
    auto digest = Digest::parse(reply.value.get<std::string>());
    return {std::move(digest), read_pipe(std::move(reply), max_manifest_bytes, "manifest")};
}

std::string ImageProxy::rewritten_config() {
    return read_pipe(call("GetFullConfig", json::array({image_})), max_config_bytes, "config");
}

std::unique_ptr<Blob> ImageProxy::blob(const Digest& digest, std::uint64_t size) {
    auto reply = call("GetBlob", json::array({image_, digest.text(), size}));
    if (!reply.pipe) throw Error(ErrorKind::failed, "skopeo sent no pipe for a blob");
    return std::make_unique<PipeBlob>(*this, std::move(reply.pipe), reply.pipe_id);
}

std::string ImageProxy::small_blob(const Digest& digest, std::uint64_t size, std::size_t limit,
                                   const std::string& what) {
    if (size > limit)
        throw Error(ErrorKind::unsupported_image,
                    "the " + what + " is larger than the limit of " + std::to_string(limit) + " bytes");
    auto text = read_pipe(call("GetBlob", json::array({image_, digest.text(), size})), limit, what);
    if (sha256(text).hex() != digest.hex())
        throw Error(ErrorKind::digest_mismatch, "the " + what + " does not have the digest " + digest.text());
    return text;
}

std::string raw_manifest(const std::string& image, const Cancellation& cancellation, const ProxyOptions& options) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) throw_errno("pipe");
    const FileDescriptor ours(ends[0]);
    FileDescriptor theirs(ends[1]);
    const pid_t process =
        spawn_skopeo({"skopeo", "inspect", "--raw", image}, theirs.get(), STDOUT_FILENO, options.auth_file);
    theirs.reset();
    std::string text;
    try {
        std::array<char, 65536> buffer;
        for (;;) {
            wait_readable(ours.get(), cancellation, options.stall_time, "the manifest");
            const auto count = ::read(ours.get(), buffer.data(), buffer.size());
            if (count < 0) throw_errno("read the manifest");
            if (count == 0) break;
            text.append(buffer.data(), static_cast<std::size_t>(count));
            if (text.size() > max_manifest_bytes)
                throw Error(ErrorKind::unsupported_image, "the manifest is larger than the limit");
        }
    } catch (...) {
        end_process(process);
        throw;
    }
    int status = 0;
    while (::waitpid(process, &status, 0) < 0 && errno == EINTR) {
    }
    if (status != 0) throw Error(ErrorKind::failed, "skopeo inspect --raw failed");
    return text;
}

}  // namespace imaged
