// SPDX-License-Identifier: Apache-2.0
#include "source/proxy/registry-blobs.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <deque>
#include <optional>
#include <string>
#include <utility>

#include "base/error.hpp"
#include "base/socket-message.hpp"
#include "source/hashed-blob.hpp"
#include "source/layer-source.hpp"
#include "source/skopeo/blob-request.hpp"

namespace imaged {

namespace {

// Below this a blob is here sooner than another process is started that fetches it.
constexpr std::uint64_t least_bytes = 256 * 1024;

// Of one blob: a service that sends it again and again is not read for ever.
constexpr std::size_t max_moves = 64;

Error failure(const BlobReport& report) {
    return {report.kind, report.message, report.pause};
}

// The lines that the service writes of one blob.
class Reports {
public:
    Reports(FileDescriptor pipe, const Cancellation& cancellation, std::chrono::milliseconds stall_time)
        : pipe_(std::move(pipe)), cancellation_(cancellation), stall_time_(stall_time) {}

    // Waits for the next; nothing after the last. Those of moves are for moves().
    std::optional<BlobReport> next() {
        for (;;) {
            parse();
            if (!reports_.empty()) {
                auto report = std::move(reports_.front());
                reports_.pop_front();
                return report;
            }
            if (ended_) return std::nullopt;
            wait_readable(pipe_.get(), cancellation_, stall_time_, "the registry");
            receive();
        }
    }

    // All that were written before the bytes that are here.
    std::deque<BlobReport>& moves() {
        while (!ended_ && is_readable(pipe_.get())) receive();
        parse();
        return moves_;
    }

private:
    void receive() {
        std::array<char, max_blob_report_bytes> buffer;
        const auto count = ::read(pipe_.get(), buffer.data(), buffer.size());
        if (count < 0 && errno != EINTR) throw_errno("read from the service that reads blobs");
        if (count == 0) ended_ = true;
        if (count > 0) text_.append(buffer.data(), static_cast<std::size_t>(count));
        if (text_.size() > 2 * max_blob_report_bytes) parse();
    }
    void parse() {
        for (auto end = text_.find('\n'); end != std::string::npos; end = text_.find('\n')) {
            auto report = decode_blob_report(std::string_view(text_).substr(0, end));
            text_.erase(0, end + 1);
            const bool moved = report.state == BlobReport::State::moved;
            if (moved && ++move_count_ > max_moves)
                throw Error(ErrorKind::source_unreachable, "the registry sends the blob again and again");
            auto& list = moved ? moves_ : reports_;
            list.push_back(std::move(report));
            if (reports_.size() > max_moves) throw Error(ErrorKind::failed, "the service says too much of a blob");
        }
        if (text_.size() > max_blob_report_bytes) throw Error(ErrorKind::failed, "a report of the service is too long");
    }

    FileDescriptor pipe_;
    const Cancellation& cancellation_;
    const std::chrono::milliseconds stall_time_;
    std::string text_;
    std::deque<BlobReport> reports_, moves_;
    std::size_t move_count_ = 0;
    bool ended_ = false;
};

class RegistryBlob : public HashedBlob {
public:
    RegistryBlob(FileDescriptor bytes, Reports reports, const Descriptor& descriptor)
        : HashedBlob(descriptor), bytes_(std::move(bytes)), reports_(std::move(reports)) {}

    int fd() const override { return bytes_.get(); }
    std::size_t take(std::span<std::byte> bytes) override {
        const auto left = take_out(bytes);
        return HashedBlob::take(bytes.first(left));
    }
    void finish() override {
        const auto report = reports_.next();
        if (!report) throw Error(ErrorKind::source_unreachable, "the service that reads blobs has ended");
        if (report->state == BlobReport::State::failed) throw failure(*report);
        HashedBlob::finish();
    }

private:
    // Moves what is new in BYTES, the next of the stream, to their beginning, and returns how much that is.
    std::size_t take_out(std::span<std::byte> bytes) {
        auto& moves = reports_.moves();
        std::size_t left = 0;
        for (std::size_t done = 0; done < bytes.size();) {
            auto piece = bytes.size() - done;
            if (!moves.empty()) {
                const auto& move = moves.front();
                if (move.after < received_ || (move.after == received_ && move.offset > new_))
                    throw Error(ErrorKind::failed, "the service that reads blobs leaves some of one out");
                if (move.after == received_) {
                    position_ = move.offset;
                    moves.pop_front();
                    continue;
                }
                piece = std::min<std::uint64_t>(piece, move.after - received_);
            }
            const bool is_new = position_ == new_;
            if (is_new) {
                if (left != done) std::memmove(bytes.data() + left, bytes.data() + done, piece);
                left += piece;
                new_ += piece;
            } else {
                piece = std::min<std::uint64_t>(piece, new_ - position_);
            }
            done += piece;
            received_ += piece;
            position_ += piece;
        }
        return left;
    }

    const FileDescriptor bytes_;
    Reports reports_;
    // Of the stream; of it, what was new; where in the blob the next byte is.
    std::uint64_t received_ = 0, new_ = 0, position_ = 0;
};

class PartsOfBlob : public Blob {
public:
    // REFUSED is borrowed, and set if the registry gives no parts. SEVERAL, borrowed, is set to whether it gave some
    // in one answer; null if only one was asked for.
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
            if (report->state == BlobReport::State::failed) throw failure(*report);
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

std::optional<int> RegistryBlobs::channel() {
    const std::lock_guard lock(mutex_);
    if (left_to_skopeo_) return std::nullopt;
    if (!service_) {
        try {
            service_ = SkopeoRun::start({.kind = SkopeoRequest::Kind::blobs, .image = image_.source()}, options_);
        } catch (const Error&) {
            left_to_skopeo_ = true;
            return std::nullopt;
        }
    }
    return service_->channel();
}

RegistryBlobs::Pipes RegistryBlobs::ask(int service, const Descriptor& blob, std::span<const BlobRange> ranges) const {
    auto bytes = make_pipe(), reports = make_pipe();
    widen_pipe(bytes.ours);
    auto packet = encode(BlobRequest{blob.digest, blob.size, {ranges.begin(), ranges.end()}, options_.stall_time});
    iovec buffer{packet.data(), packet.size()};
    const std::array descriptors{bytes.theirs.get(), reports.theirs.get()};
    const bool asked = send_message(service, std::span(&buffer, 1), descriptors) >= 0;
    return {std::move(bytes.ours), std::move(reports.ours), asked};
}

std::unique_ptr<Blob> RegistryBlobs::open(const Descriptor& blob) {
    if (image_.transport() != Transport::registry || !options_.service || blob.size < least_bytes) return nullptr;
    const auto service = channel();
    if (!service) return nullptr;
    const BlobRange whole{0, blob.size};
    auto pipes = ask(*service, blob, std::span(&whole, 1));
    std::optional<BlobReport> report;
    Reports told(std::move(pipes.reports), cancellation_, options_.stall_time);
    if (pipes.asked) report = told.next();
    if (report && report->state == BlobReport::State::failed) throw failure(*report);
    if (report && report->state == BlobReport::State::started)
        return std::make_unique<RegistryBlob>(std::move(pipes.bytes), std::move(told), blob);
    const std::lock_guard lock(mutex_);
    left_to_skopeo_ = true;
    return nullptr;
}

bool RegistryBlobs::gives_parts() {
    return image_.transport() == Transport::registry && options_.service && !refuses_parts_ && channel();
}

std::unique_ptr<Blob> RegistryBlobs::open_parts(const Descriptor& blob, std::span<const BlobRange> ranges) {
    static_assert(LayerSource::max_parts <= max_blob_ranges);
    const auto service = gives_parts() ? channel() : std::nullopt;
    if (!service) return nullptr;
    auto pipes = ask(*service, blob, ranges);
    if (!pipes.asked) return nullptr;
    return std::make_unique<PartsOfBlob>(std::move(pipes.bytes),
                                         Reports(std::move(pipes.reports), cancellation_, options_.stall_time),
                                         refuses_parts_, ranges.size() > 1 ? &gives_several_ : nullptr);
}

}  // namespace imaged
