// SPDX-License-Identifier: Apache-2.0
#include "registry/blob-fetcher.hpp"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <thread>
#include <utility>

#include <unistd.h>

#include "base/error.hpp"
#include "registry/challenge.hpp"
#include "registry/not-understood.hpp"

namespace imaged {

namespace {

using std::chrono::milliseconds;

constexpr unsigned max_redirects = 10;
// Attempts one after another that bring less than this, and attempts in all for one blob: a server that cuts after
// each few bytes is not asked for ever.
constexpr unsigned max_idle_attempts = 4, max_attempts = 64;
constexpr std::uint64_t progress_bytes = 64 * 1024;
constexpr milliseconds first_delay(100);
// Of an answer that is not the blob.
constexpr std::size_t max_other_body_bytes = 64 * 1024;

// Nobody wants the bytes any more.
struct Unwanted {};

// One blob on its way to a pipe.
class Delivery {
public:
    Delivery(const BlobRequest& request, int pipe, const std::function<void(const BlobReport&)>& report)
        : request_(request), pipe_(pipe), report_(report) {}

    const BlobRequest& request() const { return request_; }
    bool has_started() const { return started_; }
    std::uint64_t delivered() const { return delivered_; }
    bool is_complete() const { return delivered_ == request_.length; }
    std::uint64_t position() const { return request_.offset + delivered_; }
    std::uint64_t end() const { return request_.offset + request_.length; }
    // Whether only a part of the blob is wanted now.
    bool is_part() const { return position() != 0 || end() != request_.size; }
    milliseconds silence() const { return request_.stall_time / 2; }

    // HEAD, status 200 or 206, is the answer: what follows it is the blob's. Throws where it is not what was asked for.
    void begin(const HttpHead& head) {
        if (const auto encoding = head.first("content-encoding"); encoding && *encoding != "identity")
            throw Error(ErrorKind::failed, "the registry compresses what it sends");
        require_same(head.first("etag"));
        skip_ = 0;
        auto following = end() - position();
        if (head.status == 206) {
            const auto range = parse_content_range(head.first("content-range").value_or(""));
            if (!is_part() || !range || range->first != position() || range->last != end() - 1 ||
                (range->size && *range->size != request_.size))
                throw Error(ErrorKind::source_unreachable,
                            "the registry sends another part of the blob than was asked for");
        } else {
            if (request_.offset != 0 || request_.length != request_.size)
                throw NotUnderstood("a registry without ranges");
            // It sends all of it once more.
            skip_ = delivered_;
            following = request_.size;
        }
        if (const auto length = head.first("content-length"); length && parse_number(*length) != following)
            throw Error(
                delivered_ == 0 ? ErrorKind::digest_mismatch : ErrorKind::source_unreachable,
                "the registry sends " + *length + " bytes, and " + std::to_string(following) + " were asked for");
        if (!std::exchange(started_, true)) report_({BlobReport::State::started});
    }

    void take(std::span<const std::byte> bytes) {
        const auto skipped = std::min<std::uint64_t>(skip_, bytes.size());
        skip_ -= skipped;
        bytes = bytes.subspan(skipped);
        if (bytes.size() > request_.length - delivered_)
            throw Error(ErrorKind::digest_mismatch, "the registry sends more than the " +
                                                        std::to_string(request_.length) + " bytes that were asked for");
        while (!bytes.empty()) {
            const auto count = ::write(pipe_, bytes.data(), bytes.size());
            if (count < 0 && errno == EINTR) continue;
            if (count < 0 && errno == EPIPE) throw Unwanted{};
            if (count < 0) throw_errno("write to the pipe of a blob");
            delivered_ += static_cast<std::uint64_t>(count);
            bytes = bytes.subspan(static_cast<std::size_t>(count));
        }
    }

    void require_wanted() const { wait({}); }
    void wait(milliseconds delay) const {
        pollfd pipe{pipe_, 0, 0};
        if (::poll(&pipe, 1, static_cast<int>(delay.count())) > 0) throw Unwanted{};
    }

private:
    // Answers of one blob must agree on what they are about.
    void require_same(const std::optional<std::string>& tag) {
        if (tag_ && tag && *tag_ != *tag && delivered_ != 0)
            throw Error(ErrorKind::source_unreachable, "the blob has changed while it was read");
        if (tag) tag_ = tag;
    }

    const BlobRequest& request_;
    const int pipe_;
    const std::function<void(const BlobReport&)>& report_;
    bool started_ = false;
    std::uint64_t delivered_ = 0, skip_ = 0;
    std::optional<std::string> tag_;
};

std::string range_header(const Delivery& delivery) {
    return "Range: bytes=" + std::to_string(delivery.position()) + "-" + std::to_string(delivery.end() - 1);
}

// One request and what it is redirected to. Returns the head of the last answer, and where it redirects to in turn.
class Exchange {
public:
    Exchange(HttpClient& client, Delivery& delivery) : client_(client), delivery_(delivery) {
        taker_.head = [this](const HttpHead& head) {
            head_ = head;
            other_bytes_ = 0;
            if (is_blob()) delivery_.begin(head);
        };
        taker_.body = [this](std::span<const std::byte> bytes) {
            if (is_blob()) return delivery_.take(bytes);
            other_bytes_ += bytes.size();
            if (other_bytes_ > max_other_body_bytes) throw Error(ErrorKind::failed, "an answer without an end");
        };
        taker_.go_on = [this] { delivery_.require_wanted(); };
    }

    // Follows redirects.
    void run(const RegistryAccess& access, HttpRequest request) {
        if (delivery_.is_part()) request.headers.push_back(range_header(delivery_));
        for (unsigned step = 0;; ++step) {
            const auto next = client_.get(request, taker_);
            if (head_.status < 300 || head_.status >= 400 || next.empty()) return;
            if (step == max_redirects)
                throw Error(ErrorKind::failed, access.endpoint().host() + " redirects without an end");
            request = access.redirected(request, next);
            is_redirected_ = true;
        }
    }

    const HttpHead& head() const { return head_; }
    bool is_blob() const { return head_.status == 200 || head_.status == 206; }
    bool is_redirected() const { return is_redirected_; }

private:
    HttpClient& client_;
    Delivery& delivery_;
    HttpTaker taker_;
    HttpHead head_;
    std::size_t other_bytes_ = 0;
    bool is_redirected_ = false;
};

// Asks ACCESS for what is missing, once, but for who asks. Throws Cut where it may be asked again.
void attempt(RegistryAccess& access, HttpClient& client, Delivery& delivery) {
    const auto go_on = [&] { delivery.require_wanted(); };
    bool authenticated = false;
    for (;;) {
        auto request = access.blob(delivery.request().digest, delivery.silence());
        Exchange exchange(client, delivery);
        try {
            exchange.run(access, request.http);
        } catch (const Cut&) {
            if (exchange.head().status == 0 && access.fall_back(request)) continue;
            throw;
        }
        access.note_answer();
        const auto& head = exchange.head();
        if (exchange.is_blob()) {
            if (!delivery.is_complete())
                throw Cut(ErrorKind::source_unreachable, access.endpoint().host() + ": the blob ends early");
            return;
        }
        if (head.status == 401 && !exchange.is_redirected() && !std::exchange(authenticated, true)) {
            access.authenticate(request, head, go_on);
            continue;
        }
        refuse(head, access.endpoint().host(), delivery.silence());
    }
}

// IDLE_ATTEMPTS: how often it is asked in vain.
void fetch_from(RegistryAccess& access, HttpClient& client, Delivery& delivery, unsigned idle_attempts) {
    unsigned idle = 0;
    for (unsigned attempts = 1;; ++attempts) {
        const auto before = delivery.delivered();
        milliseconds delay(0);
        try {
            return attempt(access, client, delivery);
        } catch (const Cut& cut) {
            // All of it may have come before.
            if (delivery.has_started() && delivery.is_complete()) return;
            idle = delivery.delivered() - before >= progress_bytes ? 0 : idle + 1;
            if (idle >= idle_attempts || attempts >= max_attempts) throw;
            if (idle > 0) delay = first_delay * (1 << (2 * (idle - 1)));
            if (const auto* const later = dynamic_cast<const Later*>(&cut)) delay = std::max(delay, later->delay());
        }
        delivery.wait(delay);
    }
}

}  // namespace

BlobFetcher::BlobFetcher(const std::vector<Endpoint>& endpoints, RegistrySettings settings)
    : settings_(std::move(settings)) {
    for (const auto& endpoint : endpoints)
        endpoints_.push_back(std::make_unique<RegistryAccess>(endpoint, settings_, client_));
}

void BlobFetcher::fetch(const BlobRequest& request, int bytes, const std::function<void(const BlobReport&)>& report) {
    Delivery delivery(request, bytes, report);
    std::string reason;
    const std::size_t first = first_;
    for (std::size_t i = 0; i < endpoints_.size() && !delivery.has_started(); ++i) {
        const auto number = (first + i) % endpoints_.size();
        try {
            // With another to ask, nobody waits for one that does not answer.
            fetch_from(*endpoints_[number], client_, delivery, i + 1 < endpoints_.size() ? 1 : max_idle_attempts);
            first_ = number;
            return report({BlobReport::State::done});
        } catch (const Unwanted&) {
            return;
        } catch (const NotUnderstood& error) {
            reason = error.what();
        } catch (...) {
            const auto error = current_error();
            if (delivery.has_started()) return report({BlobReport::State::failed, error.kind(), error.what()});
            reason = error.what();
        }
    }
    // skopeo knows other ways, and the words for why there is none.
    report({delivery.has_started() ? BlobReport::State::failed : BlobReport::State::left_to_skopeo,
            ErrorKind::source_unreachable, reason});
}

}  // namespace imaged
