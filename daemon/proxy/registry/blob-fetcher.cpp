// SPDX-License-Identifier: Apache-2.0
#include "registry/blob-fetcher.hpp"

#include <algorithm>
#include <cerrno>
#include <deque>
#include <optional>
#include <utility>

#include <unistd.h>

#include "base/error.hpp"
#include "base/file-descriptor.hpp"
#include "registry/byte-ranges.hpp"
#include "registry/challenge.hpp"
#include "registry/not-understood.hpp"

namespace imaged {

namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr unsigned max_redirects = 10;
// Between attempts; doubled while they bring nothing.
constexpr milliseconds first_pause(100), longest_pause(2000);
// After an attempt that brings this much the next needs no pause.
constexpr std::uint64_t quick_bytes = 64 * 1024;
// A server that cuts after each few bytes is not asked for ever: attempts for one blob, and one more for each so many
// bytes of it.
constexpr std::uint64_t max_attempts = 64, attempt_bytes = 16 * 1024;
// How often one that does not continue a blob may send it from its beginning again.
constexpr unsigned max_repeats = 4;
// Of an answer that is not the blob.
constexpr std::size_t max_other_body_bytes = 64 * 1024;

// Nobody wants the bytes any more.
struct Unwanted {};

// The server does not continue a blob; it may send all of it again.
class NotContinued : public Error {
public:
    explicit NotContinued(const std::string& why) : Error(ErrorKind::source_unreachable, why) {}
};

BlobReport failure(const Error& error) {
    return {.state = BlobReport::State::failed, .kind = error.kind(), .message = error.what(), .pause = error.pause()};
}

}  // namespace

// Ranges of one blob on their way to a pipe.
class BlobFetcher::Delivery {
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
    Clock::time_point heard() const { return heard_; }
    bool is_whole() const { return request_.ranges.front() == whole(); }

    // What the next request asks for: all that is left or, if not SEVERAL, the first range of it. Returns the Range
    // header, or nullopt if the request asks for the whole blob.
    std::optional<std::string> ask(bool several) {
        asked_.assign(left_.begin(), several ? left_.end() : left_.begin() + 1);
        answer_end_ = delivered_ + bytes_of(asked_);
        if (asked_.front() == whole() || from_beginning_) return std::nullopt;
        std::string header = "Range: bytes=";
        for (const auto& range : asked_) {
            if (range != asked_.front()) header += ",";
            header += std::to_string(range.offset) + "-" + std::to_string(range.end() - 1);
        }
        return header;
    }
    bool asked_several() const { return asked_.size() > 1; }
    // Whether the rest of a whole blob was asked for.
    bool asked_rest() const { return is_whole() && delivered_ > 0 && !from_beginning_; }
    // That is not asked for any more: the server sends all of it, or nothing.
    void ask_from_beginning() { from_beginning_ = true; }
    // After a redirect to another server, and with secrets of the first: skopeo would show them to it.
    void keep_from_skopeo(const std::string& where) { kept_from_ = where; }
    const std::string& kept_from() const { return kept_from_; }
    // Whether all that was asked for has come.
    bool is_answered() const { return delivered_ == answer_end_; }

    // HEAD, status 200 or 206, is the answer: what follows it is the blob's. Throws if it is not what was asked for:
    // NotSeveralRanges if that may be had one by one.
    void begin(const HttpHead& head) {
        if (const auto encoding = head.first("content-encoding"); encoding && *encoding != "identity")
            throw Error(ErrorKind::failed, "the registry compresses what it sends");
        require_same(head.first("etag"));
        repeat_ = 0;
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
        // The reader is told which bytes come again, and removes them; they count as bytes that the registry sent.
        const auto position = delivered_ - repeat_;
        if (position == position_) return;
        report_({.state = BlobReport::State::moved, .after = written_, .offset = position});
        position_ = position;
    }

    void take(std::span<const std::byte> bytes) {
        if (several_) {
            several_->read(bytes);
            return;
        }
        const auto repeated = static_cast<std::size_t>(std::min<std::uint64_t>(repeat_, bytes.size()));
        write(bytes.first(repeated));
        repeat_ -= repeated;
        bytes = bytes.subspan(repeated);
        if (bytes.size() > answer_end_ - delivered_)
            throw Error(ErrorKind::digest_mismatch, "the registry sends more than was asked for");
        deliver(bytes);
    }

    void require_wanted() const { wait({}); }
    void wait(milliseconds delay) const {
        if (is_hung_up(pipe_, static_cast<int>(delay.count()))) throw Unwanted{};
    }

private:
    BlobRange whole() const { return {0, request_.size}; }

    // As begin(), if one range was asked for.
    void begin_one(const HttpHead& head) {
        const auto& wanted = asked_.front();
        auto following = wanted.length;
        if (head.status == 206) {
            const auto range = parse_content_range(head.first("content-range").value_or(""));
            if (wanted == whole() || from_beginning_ || !range || range->first != wanted.offset ||
                range->last != wanted.end() - 1 || (range->size && *range->size != request_.size))
                throw NotContinued("the registry sends another part of the blob than was asked for");
        } else {
            if (!is_whole()) throw NotUnderstood("a registry without ranges");
            if (delivered_ > 0 && ++repeats_ > max_repeats)
                throw Error(ErrorKind::source_unreachable, "the registry sends the blob from its beginning each time");
            repeat_ = delivered_;
            following = request_.size;
        }
        if (const auto length = head.first("content-length"); length && parse_number(*length) != following)
            throw Error(
                delivered_ == 0 ? ErrorKind::digest_mismatch : ErrorKind::source_unreachable,
                "the registry sends " + *length + " bytes, and " + std::to_string(following) + " were asked for");
    }

    // Returns after some of BYTES, as many as it says.
    std::size_t write_some(std::span<const std::byte> bytes) {
        for (;;) {
            const auto count = ::write(pipe_, bytes.data(), bytes.size());
            if (count < 0 && errno == EINTR) continue;
            if (count < 0 && errno == EPIPE) throw Unwanted{};
            if (count < 0) throw_errno("write to the pipe of a blob");
            const auto done = static_cast<std::size_t>(count);
            written_ += done;
            position_ += done;
            heard_ = Clock::now();
            return done;
        }
    }
    void write(std::span<const std::byte> bytes) {
        while (!bytes.empty()) bytes = bytes.subspan(write_some(bytes));
    }

    // BYTES are the next of what is left.
    void deliver(std::span<const std::byte> bytes) {
        while (!bytes.empty()) {
            const auto done = write_some(bytes);
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
    bool started_ = false, from_beginning_ = false;
    std::uint64_t delivered_ = 0, answer_end_ = 0;
    std::uint64_t repeat_ = 0;                  // of the answer: was delivered before
    std::uint64_t written_ = 0, position_ = 0;  // to the pipe, and where in what was asked for its next byte is
    unsigned repeats_ = 0;
    Clock::time_point heard_ = Clock::now();
    std::string kept_from_;
    std::optional<ByteRanges> several_;  // reads the answer
    std::optional<std::string> tag_;
};

namespace {

using Delivery = BlobFetcher::Delivery;

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
            if (head_.status < 300 || head_.status >= 400 || !next) return;
            if (step == max_redirects)
                throw Error(ErrorKind::failed, access.endpoint().host() + " redirects without an end");
            const auto from = origin_of(request.url), to = origin_of(*next);
            if (from != to && access.has_secrets())
                delivery_.keep_from_skopeo(to ? to->host + ":" + to->port : "that address");
            request = access.redirected(request, *next);
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

// Whether STATUS may be the answer of a server that sends a whole blob but does not continue one.
bool may_refuse_rest(long status) {
    return may_refuse_several(status) || status == 404 || status == 501;
}

// What HEAD says in place of the blob. In the middle of a whole one only the next attempt of the job shows whether it
// is not there any more.
[[noreturn]] void refuse_blob(const HttpHead& head, const std::string& host, const Delivery& delivery) {
    try {
        refuse(head, host);
    } catch (const Cut&) {
        throw;
    } catch (const Error& error) {
        if (delivery.is_whole() && delivery.delivered() > 0) throw Error(ErrorKind::source_unreachable, error.what());
        throw;
    }
}

// Asks ACCESS for what is missing, once, but for who asks, and for each range if it gives no more at a time. Throws
// Cut if it may be asked again.
void attempt(RegistryAccess& access, HttpClient& client, Delivery& delivery) {
    const auto go_on = [&] { delivery.require_wanted(); };
    bool authenticated = false;
    for (;;) {
        auto request = access.blob(delivery.request().digest.text(), delivery.silence());
        Exchange exchange(client, delivery);
        try {
            exchange.run(access, request.http);
        } catch (const NotSeveralRanges&) {
            access.give_up_several();
            if (delivery.is_complete()) return;  // wrong is what follows all of them
            continue;
        } catch (const NotContinued&) {
            if (!delivery.asked_rest()) throw;
            delivery.ask_from_beginning();
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
        if (delivery.asked_rest() && may_refuse_rest(head.status)) {
            delivery.ask_from_beginning();
            continue;
        }
        if (head.status == 401 && !exchange.is_redirected() && !std::exchange(authenticated, true)) {
            access.authenticate(request, head, go_on);
            continue;
        }
        refuse_blob(head, access.endpoint().host(), delivery);
    }
}

// When a registry is asked again. One that is away, or has too much to do, is waited for until nothing has come for
// DELIVERY's silence.
class Patience {
public:
    explicit Patience(const Delivery& delivery) : delivery_(delivery) {}

    // Call after failed attempts, one of which asks for a pause of LATER. INSISTS: another attempt is made in any case.
    // Returns the pause before the next attempt; nullopt if there is to be none.
    std::optional<milliseconds> next(milliseconds later, bool insists) {
        const auto brought = delivery_.delivered() - std::exchange(before_, delivery_.delivered());
        if (++attempts_ > max_attempts + before_ / attempt_bytes) return std::nullopt;
        milliseconds pause(0);
        if (brought > 0) {
            idle_ = 0;
            pause_ = first_pause;
            if (brought < quick_bytes) pause = first_pause;
        } else {
            const auto left = std::chrono::ceil<milliseconds>(delivery_.heard() + delivery_.silence() - Clock::now());
            if (left <= milliseconds(0) && (++idle_ > 1 || !insists)) return std::nullopt;
            // The reader stops waiting after twice the silence.
            if (later > milliseconds(0) && later > left + delivery_.silence() * 3 / 4) return std::nullopt;
            pause = std::clamp(left, milliseconds(0), pause_);
            pause_ = std::min(2 * pause_, longest_pause);
        }
        return std::max(pause, later);
    }

private:
    const Delivery& delivery_;
    milliseconds pause_ = first_pause;
    std::uint64_t before_ = 0, attempts_ = 0;
    unsigned idle_ = 0;
};

}  // namespace

BlobFetcher::BlobFetcher(const std::vector<Endpoint>& endpoints, RegistrySettings settings)
    : settings_(std::move(settings)) {
    for (const auto& endpoint : endpoints)
        endpoints_.push_back(std::make_unique<RegistryAccess>(endpoint, settings_, client_));
}

void BlobFetcher::fetch(const BlobRequest& request, int bytes, const std::function<void(const BlobReport&)>& report) {
    Delivery delivery(request, bytes, report);
    try {
        report(deliver(delivery));
    } catch (const Unwanted&) {
    }
}

BlobReport BlobFetcher::deliver(Delivery& delivery) {
    auto& gave = delivery.is_whole() ? gave_whole_ : gave_part_;
    std::vector<std::size_t> places;
    for (std::size_t i = 0; i < endpoints_.size(); ++i) places.push_back((first_ + i) % endpoints_.size());
    Patience patience(delivery);
    std::optional<Error> failed, unsafe, busy;
    bool is_for_skopeo = false;
    for (;;) {
        // If there is another endpoint to ask, do not wait for one that does not answer.
        std::optional<Error> temporary;
        milliseconds later(0);
        for (auto place = places.begin(); place != places.end();) {
            auto& access = *endpoints_[*place];
            // If several ranges were asked for, one that gives no more than one has shown that.
            const auto done = [&] {
                return BlobReport{.state = BlobReport::State::done, .several = access.gives_several()};
            };
            try {
                attempt(access, client_, delivery);
                first_ = *place;
                gave = true;
                return done();
            } catch (const Unwanted&) {
                throw;
            } catch (const Cut& cut) {
                // All of it may have come before.
                if (delivery.has_started() && delivery.is_complete()) return done();
                if (cut.pause() <= delivery.silence()) {
                    temporary = cut;
                    later = std::max(later, cut.pause());
                    if (delivery.has_started()) {
                        places = {*place};
                        break;
                    }
                    ++place;
                    continue;
                }
                busy = cut;
            } catch (const Unsafe& error) {
                unsafe = error;
            } catch (const NotUnderstood& error) {
                failed = Error(ErrorKind::source_unreachable, error.what());
                is_for_skopeo = true;
            } catch (...) {
                failed = current_error();
            }
            place = places.erase(place);
            if (delivery.has_started()) break;
        }
        // What came from a registry once will come from it again: it is waited for, and skopeo would not get it either.
        if (delivery.has_started()) gave = true;
        if (!temporary || places.empty()) break;
        const auto pause = patience.next(later, gave);
        // skopeo would have to wait as well for one that is busy.
        if (!pause && (gave || temporary->pause() > milliseconds(0))) return failure(*temporary);
        if (!pause) {
            failed = temporary;
            break;
        }
        delivery.wait(*pause);
    }
    if (unsafe) return failure(*unsafe);
    if (busy && !is_for_skopeo) return failure(*busy);
    // Parts that a registry does not give, or gives wrong, are no registry that is away.
    if (!delivery.is_whole() && delivery.has_started()) return failure(Error(ErrorKind::failed, failed->what()));
    if (delivery.has_started()) return failure(*failed);
    if (delivery.is_whole() && !delivery.kept_from().empty())
        return failure(Error(failed->kind(),
                             std::string(failed->what()) +
                                 " (imaged does not try with skopeo, which could show a login or a certificate to " +
                                 delivery.kept_from() + ", where the registry redirects)"));
    // skopeo knows other ways, and the words for why there is none.
    return {BlobReport::State::left_to_skopeo, ErrorKind::source_unreachable, failed->what()};
}

}  // namespace imaged
