// SPDX-License-Identifier: Apache-2.0
#include "registry/blob-fetcher.hpp"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <optional>
#include <utility>

#include <unistd.h>

#include "base/error.hpp"
#include "registry/byte-ranges.hpp"
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

// Ranges of one blob on their way to a pipe.
class Delivery {
public:
    Delivery(const BlobRequest& request, int pipe, const std::function<void(const BlobReport&)>& report)
        : request_(request),
          pipe_(pipe),
          report_(report),
          left_(request.ranges.begin(), request.ranges.end()),
          length_(bytes_of(request.ranges)) {}

    const BlobRequest& request() const { return request_; }
    bool has_started() const { return started_; }
    std::uint64_t delivered() const { return delivered_; }
    bool is_complete() const { return delivered_ == length_; }
    milliseconds silence() const { return request_.stall_time / 2; }
    // Whether the registry has given more than one range in an answer.
    bool had_several() const { return had_several_; }

    // What the next request asks for: all that is left or, if not SEVERAL, the first range of it. Returns the header;
    // nothing where that is the whole blob.
    std::optional<std::string> ask(bool several) {
        asked_.assign(left_.begin(), several ? left_.end() : left_.begin() + 1);
        answer_end_ = delivered_ + bytes_of(asked_);
        if (asked_.front() == whole()) return std::nullopt;
        std::string header = "Range: bytes=";
        for (const auto& range : asked_) {
            if (range != asked_.front()) header += ",";
            header += std::to_string(range.offset) + "-" + std::to_string(range.end() - 1);
        }
        return header;
    }
    bool asked_several() const { return asked_.size() > 1; }
    // Whether all that was asked for has come.
    bool is_answered() const { return delivered_ == answer_end_; }

    // HEAD, status 200 or 206, is the answer: what follows it is the blob's. Throws where it is not what was asked for:
    // NotSeveralRanges if that may be had one by one.
    void begin(const HttpHead& head) {
        if (const auto encoding = head.first("content-encoding"); encoding && *encoding != "identity")
            throw Error(ErrorKind::failed, "the registry compresses what it sends");
        require_same(head.first("etag"));
        skip_ = 0;
        several_.reset();
        if (asked_several()) {
            const auto type = head.first("content-type").value_or("");
            if (head.status != 206 || !has_several_ranges(type))
                throw NotSeveralRanges("the registry gives one range at a time");
            several_.emplace(type, asked_, request_.size, [this](std::span<const std::byte> bytes) { deliver(bytes); });
        } else {
            begin_one(head);
        }
        if (!std::exchange(started_, true)) report_({BlobReport::State::started});
    }

    void take(std::span<const std::byte> bytes) {
        if (several_) {
            several_->read(bytes);
            had_several_ |= is_answered();
            return;
        }
        const auto skipped = std::min<std::uint64_t>(skip_, bytes.size());
        skip_ -= skipped;
        bytes = bytes.subspan(skipped);
        if (bytes.size() > answer_end_ - delivered_)
            throw Error(ErrorKind::digest_mismatch, "the registry sends more than was asked for");
        deliver(bytes);
    }

    void require_wanted() const { wait({}); }
    void wait(milliseconds delay) const {
        pollfd pipe{pipe_, 0, 0};
        if (::poll(&pipe, 1, static_cast<int>(delay.count())) > 0) throw Unwanted{};
    }

private:
    BlobRange whole() const { return {0, request_.size}; }

    // As begin(), where one range was asked for.
    void begin_one(const HttpHead& head) {
        const auto& wanted = asked_.front();
        auto following = wanted.length;
        if (head.status == 206) {
            const auto range = parse_content_range(head.first("content-range").value_or(""));
            if (wanted == whole() || !range || range->first != wanted.offset || range->last != wanted.end() - 1 ||
                (range->size && *range->size != request_.size))
                throw Error(ErrorKind::source_unreachable,
                            "the registry sends another part of the blob than was asked for");
        } else {
            if (request_.ranges.front() != whole()) throw NotUnderstood("a registry without ranges");
            // It sends all of it once more.
            skip_ = delivered_;
            following = request_.size;
        }
        if (const auto length = head.first("content-length"); length && parse_number(*length) != following)
            throw Error(
                delivered_ == 0 ? ErrorKind::digest_mismatch : ErrorKind::source_unreachable,
                "the registry sends " + *length + " bytes, and " + std::to_string(following) + " were asked for");
    }

    // BYTES are the next of what is left.
    void deliver(std::span<const std::byte> bytes) {
        while (!bytes.empty()) {
            const auto count = ::write(pipe_, bytes.data(), bytes.size());
            if (count < 0 && errno == EINTR) continue;
            if (count < 0 && errno == EPIPE) throw Unwanted{};
            if (count < 0) throw_errno("write to the pipe of a blob");
            const auto done = static_cast<std::size_t>(count);
            delivered_ += done;
            bytes = bytes.subspan(done);
            for (std::uint64_t rest = done; rest > 0;) {
                auto& range = left_.front();
                const auto part = std::min(rest, range.length);
                range = {range.offset + part, range.length - part};
                rest -= part;
                if (range.length == 0) left_.pop_front();
            }
        }
    }

    // Answers of one blob must agree on what they are about.
    void require_same(const std::optional<std::string>& tag) {
        if (tag_ && tag && *tag_ != *tag && delivered_ != 0)
            throw Error(ErrorKind::source_unreachable, "the blob has changed while it was read");
        if (tag) tag_ = tag;
    }

    const BlobRequest& request_;
    const int pipe_;
    const std::function<void(const BlobReport&)>& report_;
    std::deque<BlobRange> left_;
    std::vector<BlobRange> asked_;
    const std::uint64_t length_;  // of all ranges
    bool started_ = false, had_several_ = false;
    std::uint64_t delivered_ = 0, answer_end_ = 0, skip_ = 0;
    std::optional<ByteRanges> several_;  // reads the answer
    std::optional<std::string> tag_;
};

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
        if (auto range = delivery_.ask(access.gives_several())) request.headers.push_back(*std::move(range));
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

// Whether STATUS may be the answer of a server that does not understand a request for several ranges.
bool may_refuse_several(long status) {
    return status >= 400 && status < 500 && status != 401 && status != 404 && status != 408 && status != 429;
}

// Asks ACCESS for what is missing, once, but for who asks, and for each range where it gives no more at a time. Throws
// Cut where it may be asked again.
void attempt(RegistryAccess& access, HttpClient& client, Delivery& delivery) {
    const auto go_on = [&] { delivery.require_wanted(); };
    bool authenticated = false;
    for (;;) {
        auto request = access.blob(delivery.request().digest, delivery.silence());
        Exchange exchange(client, delivery);
        try {
            exchange.run(access, request.http);
        } catch (const NotSeveralRanges&) {
            access.give_up_several();
            continue;
        } catch (const Cut&) {
            if (exchange.head().status == 0 && access.fall_back(request)) continue;
            throw;
        }
        access.note_answer();
        const auto& head = exchange.head();
        if (exchange.is_blob()) {
            if (!delivery.is_answered())
                throw Cut(ErrorKind::source_unreachable, access.endpoint().host() + ": the blob ends early");
            if (delivery.is_complete()) return;
            authenticated = false;
            continue;
        }
        if (delivery.asked_several() && may_refuse_several(head.status)) {
            access.give_up_several();
            continue;
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
            return report({.state = BlobReport::State::done, .several = delivery.had_several()});
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
