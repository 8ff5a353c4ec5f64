// SPDX-License-Identifier: Apache-2.0
#include "source/proxy/image-proxy.hpp"

#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>
#include <vector>

#include "base/checksum.hpp"
#include "base/error.hpp"
#include "base/json.hpp"
#include "base/socket-message.hpp"
#include "oci/image-config.hpp"
#include "oci/manifest.hpp"
#include "source/proxy/proxy-reply.hpp"
#include "source/skopeo/ca-certificates.hpp"

namespace imaged {

namespace {

using nlohmann::json;

// A manifest or config is here within so many stall times, however steadily it drips.
constexpr int document_stall_times = 4;
// Protocol 0.2.6: "Policy Verification before pulling OCI".
constexpr unsigned first_minor_with_policy = 6;

}  // namespace

struct ImageProxy::Reply : ProxyReply {
    FileDescriptor pipe;
};

ImageProxy::ImageProxy(const Cancellation& cancellation, const ProxyOptions& options)
    : cancellation_(cancellation),
      stall_time_(options.stall_time),
      skopeo_(options.started ? options.started : start_image_proxy(options)) {}

void ImageProxy::proxy_died(const std::string& method) {
    std::string how = "closed its socket";
    // It may still be on its way out.
    if (const auto status = skopeo_->ended_within(std::chrono::milliseconds(500))) {
        how = WIFEXITED(*status) ? "ended with status " + std::to_string(WEXITSTATUS(*status))
                                 : "was killed by signal " + std::to_string(WTERMSIG(*status));
    }
    // Whatever ended it (the lack of memory, an administrator) another one may be spared.
    throw Error(ErrorKind::source_unreachable, "skopeo's image proxy " + how + " during " + method);
}

void ImageProxy::wait_for_turn() {
    while (!turn_.try_acquire_for(std::chrono::milliseconds(100))) cancellation_.check();
    if (std::exchange(verdict_due_, false)) {
        try {
            receive_reply("FinishPipe");
        } catch (const Error&) {
            // That blob is not needed any more. If there was no reply, broken_ says so.
        }
    }
}

bool ImageProxy::in_step() {
    wait_for_turn();
    turn_.release();
    cancellation_.check();
    return !broken_;
}

void ImageProxy::take_turn(const std::string& method) {
    wait_for_turn();
    if (broken_) {
        turn_.release();
        cancellation_.check();
        throw Error(ErrorKind::source_unreachable,
                    method + ": the connection to skopeo is out of step after an earlier failure");
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
    if (request.size() > max_proxy_packet_bytes)
        throw Error(ErrorKind::invalid_argument, method + ": the request is longer than the protocol allows");
    if (::send(skopeo_->channel(), request.data(), request.size(), MSG_NOSIGNAL) < 0) {
        if (errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN) proxy_died(method);
        throw_errno("send to skopeo");
    }
}

ImageProxy::Reply ImageProxy::receive_reply(const std::string& method) {
    // Until it is here: what comes late must not be taken for the answer to the next request.
    broken_ = true;
    wait_readable(skopeo_->channel(), cancellation_, stall_time_, "skopeo's answer to " + method);
    // One byte more than allowed, so that an oversized packet shows.
    std::vector<char> packet(max_proxy_packet_bytes + 1);
    iovec buffer{packet.data(), packet.size()};
    auto received = receive_message(skopeo_->channel(), std::span(&buffer, 1), 4);
    if (received.size < 0 && errno != ECONNRESET) throw_errno("receive from skopeo");
    if (received.size <= 0) proxy_died(method);

    Reply reply;
    if (!received.descriptors.empty()) reply.pipe = std::move(received.descriptors.back());
    broken_ = false;
    try {
        // A packet that does not fit is cut to one byte over the limit.
        auto parsed = parse_proxy_reply({packet.data(), static_cast<std::size_t>(received.size)},
                                        received.descriptors.size(), method);
        reply.value = std::move(parsed.value);
        reply.pipe_id = parsed.pipe_id;
    } catch (const Error& error) {
        throw skopeo_->named(error);
    }
    if (reply.pipe) widen_pipe(reply.pipe);
    return reply;
}

bool ImageProxy::has(const std::string& image) {
    try {
        call("CloseImage", json::array({open(image)}));
        return true;
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::not_found) throw;
        return false;
    }
}

std::uint64_t ImageProxy::open(const std::string& image) {
    if (!initialized_) {
        const auto version = *call("Initialize", json::array()).value;
        unsigned minor = 0;
        if (!version.is_string() || std::sscanf(version.get_ref<const std::string&>().c_str(), "0.2.%u", &minor) != 1)
            throw Error(ErrorKind::failed, "skopeo's image proxy speaks protocol " + version.dump() + ", not 0.2");
        enforces_policy_ = minor >= first_minor_with_policy;
        initialized_ = true;
    }
    const auto id = [&] {
        try {
            return *call("OpenImage", json::array({image})).value;
        } catch (const Error& error) {
            throw with_certificate_fault(error, image, skopeo_->by_service());
        }
    }();
    if (!id.is_number_unsigned()) throw Error(ErrorKind::failed, "skopeo's answer to OpenImage is not a number");
    return id.get<std::uint64_t>();
}

class ImageProxy::PipeBlob : public Blob {
public:
    PipeBlob(ImageProxy& proxy, FileDescriptor pipe, std::uint64_t id)
        : proxy_(proxy), pipe_(std::move(pipe)), id_(id) {}
    ~PipeBlob() override {
        if (!asked_) return;
        // Ends what skopeo writes, so that it answers.
        pipe_.reset();
        proxy_.verdict_due_ = true;
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
    const auto deadline = std::chrono::steady_clock::now() + document_stall_times * stall_time_;
    for (;;) {
        if (std::chrono::steady_clock::now() > deadline)
            throw Error(ErrorKind::source_unreachable,
                        "the " + what + " comes too slowly: " + std::to_string(text.size()) + " bytes so far");
        wait_readable(pipe.fd(), cancellation_, stall_time_, "the " + what);
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
    if (!reply.value->is_string()) throw Error(ErrorKind::failed, "skopeo's answer to GetManifest has no digest");
    auto digest = Digest::parse(reply.value->get<std::string>());
    return {std::move(digest), read_pipe(std::move(reply), max_manifest_bytes, "manifest")};
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
    if (Digest(sha256(text)) != digest)
        throw Error(ErrorKind::digest_mismatch, "the " + what + " does not have the digest " + digest.text());
    return text;
}

namespace {

std::optional<std::string> inspect_raw(SkopeoRequest::Kind kind, const std::string& image,
                                       const Cancellation& cancellation, const ProxyOptions& options) {
    const auto skopeo = SkopeoRun::start({.kind = kind, .image = image}, options);
    auto text = skopeo->output(cancellation, max_manifest_bytes, "the manifest");
    return skopeo->wait(cancellation) == 0 ? std::optional(std::move(text)) : std::nullopt;
}

}  // namespace

std::string raw_manifest(const std::string& image, const Cancellation& cancellation, const ProxyOptions& options) {
    auto text = inspect_raw(SkopeoRequest::Kind::inspect_raw, image, cancellation, options);
    if (!text) throw Error(ErrorKind::failed, "skopeo inspect --raw failed");
    return *std::move(text);
}

std::optional<std::string> find_raw_manifest(const std::string& image, ImageProxy& proxy, const ProxyOptions& options) {
    auto text = inspect_raw(SkopeoRequest::Kind::look_up, image, proxy.cancellation(), options);
    if (text || !proxy.has(image)) return text;
    throw Error(ErrorKind::failed, "skopeo inspect --raw failed");
}

}  // namespace imaged
