// SPDX-License-Identifier: Apache-2.0
#include "source/proxy/registry-blobs.hpp"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <optional>
#include <string>
#include <utility>

#include "base/error.hpp"
#include "base/file-descriptor.hpp"
#include "base/socket-message.hpp"
#include "source/hashed-blob.hpp"
#include "source/layer-source.hpp"
#include "source/skopeo/blob-request.hpp"

namespace imaged {

namespace {

// Below this a blob is here sooner than another process is started that fetches it.
constexpr std::uint64_t least_bytes = 256 * 1024;

// The lines that the service writes of one blob.
class Reports {
public:
    Reports(FileDescriptor pipe, const Cancellation& cancellation, std::chrono::milliseconds stall_time)
        : pipe_(std::move(pipe)), cancellation_(cancellation), stall_time_(stall_time) {}

    // Nothing after the last.
    std::optional<BlobReport> next() {
        for (;;) {
            if (const auto end = text_.find('\n'); end != std::string::npos) {
                const auto report = decode_blob_report(std::string_view(text_).substr(0, end));
                text_.erase(0, end + 1);
                return report;
            }
            if (text_.size() > max_blob_report_bytes)
                throw Error(ErrorKind::failed, "a report of the service is too long");
            wait_readable(pipe_.get(), cancellation_, stall_time_, "the registry");
            std::array<char, max_blob_report_bytes> buffer;
            const auto count = ::read(pipe_.get(), buffer.data(), buffer.size());
            if (count < 0 && errno != EINTR) throw_errno("read from the service that reads blobs");
            if (count == 0) return std::nullopt;
            if (count > 0) text_.append(buffer.data(), static_cast<std::size_t>(count));
        }
    }

private:
    FileDescriptor pipe_;
    const Cancellation& cancellation_;
    const std::chrono::milliseconds stall_time_;
    std::string text_;
};

class RegistryBlob : public HashedBlob {
public:
    RegistryBlob(FileDescriptor bytes, Reports reports, const Descriptor& descriptor)
        : HashedBlob(descriptor), bytes_(std::move(bytes)), reports_(std::move(reports)) {}

    int fd() const override { return bytes_.get(); }
    void finish() override {
        const auto report = reports_.next();
        if (!report) throw Error(ErrorKind::source_unreachable, "the service that reads blobs has ended");
        if (report->state == BlobReport::State::failed) throw Error(report->kind, report->message);
        HashedBlob::finish();
    }

private:
    const FileDescriptor bytes_;
    Reports reports_;
};

class PartsOfBlob : public Blob {
public:
    // REFUSED is borrowed, and set where the registry gives no parts. SEVERAL, borrowed, is set to whether it gave some
    // in one answer; null where only one was asked for.
    PartsOfBlob(FileDescriptor bytes, Reports reports, std::atomic<bool>& refused, std::atomic<bool>* several)
        : bytes_(std::move(bytes)), reports_(std::move(reports)), refused_(refused), several_(several) {}

    int fd() const override { return bytes_.get(); }
    void finish() override {
        for (;;) {
            const auto report = reports_.next();
            if (!report) throw Error(ErrorKind::source_unreachable, "the service that reads blobs has ended");
            if (report->state == BlobReport::State::done) {
                if (several_ != nullptr) *several_ = report->several;
                return;
            }
            if (report->state == BlobReport::State::failed) throw Error(report->kind, report->message);
            if (report->state == BlobReport::State::left_to_skopeo) {
                refused_ = true;
                throw Error(ErrorKind::source_unreachable, "the registry gives no parts: " + report->message);
            }
        }
    }

private:
    const FileDescriptor bytes_;
    Reports reports_;
    std::atomic<bool>& refused_;
    std::atomic<bool>* const several_;
};

}  // namespace

int RegistryBlobs::channel() {
    const std::lock_guard lock(mutex_);
    if (left_to_skopeo_) return -1;
    if (!service_) {
        try {
            service_ = SkopeoRun::start({.kind = SkopeoRequest::Kind::blobs, .image = image_.source()}, options_);
        } catch (const Error&) {
            left_to_skopeo_ = true;
            return -1;
        }
    }
    return service_->channel();
}

RegistryBlobs::Pipes RegistryBlobs::ask(int service, const Descriptor& blob, std::span<const BlobRange> ranges) const {
    auto bytes = make_pipe(), reports = make_pipe();
    widen_pipe(bytes.ours);
    auto packet =
        encode(BlobRequest{blob.digest.text(), blob.size, {ranges.begin(), ranges.end()}, options_.stall_time});
    iovec buffer{packet.data(), packet.size()};
    const std::array descriptors{bytes.theirs.get(), reports.theirs.get()};
    const bool asked = send_message(service, std::span(&buffer, 1), descriptors) >= 0;
    return {std::move(bytes.ours), std::move(reports.ours), asked};
}

std::unique_ptr<Blob> RegistryBlobs::open(const Descriptor& blob) {
    if (image_.transport() != Transport::registry || options_.service.empty() || blob.size < least_bytes)
        return nullptr;
    const int service = channel();
    if (service < 0) return nullptr;
    const BlobRange whole{0, blob.size};
    auto pipes = ask(service, blob, std::span(&whole, 1));
    std::optional<BlobReport> report;
    Reports told(std::move(pipes.reports), cancellation_, options_.stall_time);
    if (pipes.asked) report = told.next();
    if (report && report->state == BlobReport::State::failed) throw Error(report->kind, report->message);
    if (report && report->state == BlobReport::State::started)
        return std::make_unique<RegistryBlob>(std::move(pipes.bytes), std::move(told), blob);
    const std::lock_guard lock(mutex_);
    left_to_skopeo_ = true;
    return nullptr;
}

bool RegistryBlobs::gives_parts() {
    return image_.transport() == Transport::registry && !options_.service.empty() && !refuses_parts_ && channel() >= 0;
}

std::unique_ptr<Blob> RegistryBlobs::open_parts(const Descriptor& blob, std::span<const BlobRange> ranges) {
    static_assert(LayerSource::max_parts <= max_blob_ranges);
    if (!gives_parts()) return nullptr;
    auto pipes = ask(channel(), blob, ranges);
    if (!pipes.asked) return nullptr;
    return std::make_unique<PartsOfBlob>(std::move(pipes.bytes),
                                         Reports(std::move(pipes.reports), cancellation_, options_.stall_time),
                                         refuses_parts_, ranges.size() > 1 ? &gives_several_ : nullptr);
}

}  // namespace imaged
