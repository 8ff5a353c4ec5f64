// SPDX-License-Identifier: Apache-2.0
#include "registry/http-client.hpp"

#include <curl/curl.h>
#include <fcntl.h>

#include <algorithm>
#include <cstdlib>
#include <exception>

#include "base/file-descriptor.hpp"
#include "registry/challenge.hpp"

namespace imaged {

namespace {

// Of one answer: some registries send policies for browsers. curl itself has a limit for a line only.
constexpr std::size_t max_head_bytes = 64 * 1024;
constexpr long buffer_bytes = 512L * 1024;
constexpr std::size_t max_ca_bytes = 16 * 1024 * 1024;
constexpr const char* system_certificates = "/etc/ssl/certs/ca-certificates.crt";

struct FreeUrl {
    void operator()(CURLU* url) const { curl_url_cleanup(url); }
};
using Url = std::unique_ptr<CURLU, FreeUrl>;

Url parse_url(const std::string& text) {
    Url url(curl_url());
    if (!url) throw std::bad_alloc();
    if (curl_url_set(url.get(), CURLUPART_URL, text.c_str(), CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK) url.reset();
    return url;
}

std::optional<std::string> part(const Url& url, CURLUPart which, unsigned flags = 0) {
    char* text = nullptr;
    if (curl_url_get(url.get(), which, &text, flags) != CURLUE_OK) return std::nullopt;
    std::string found(text);
    curl_free(text);
    return found;
}

template <typename Value>
void set(CURL* curl, CURLoption option, Value value) {
    if (const auto error = curl_easy_setopt(curl, option, value); error != CURLE_OK)
        throw Error(ErrorKind::failed, std::string("libcurl: ") + curl_easy_strerror(error));
}

std::string_view trimmed(std::string_view text) {
    constexpr std::string_view spaces = " \t\r\n";
    text.remove_prefix(std::min(text.find_first_not_of(spaces), text.size()));
    text.remove_suffix(text.size() - std::min(text.find_last_not_of(spaces) + 1, text.size()));
    return text;
}

std::string system_ca() {
    const auto file = try_open_file(AT_FDCWD, system_certificates);
    return file ? read_all(file.get(), max_ca_bytes, system_certificates) : std::string();
}

struct FreeList {
    void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

// What is known of one answer while it comes. Its functions are called by libcurl, which no exception may pass.
class Answer {
public:
    Answer(const HttpTaker& taker, std::chrono::milliseconds silence)
        : taker_(taker), silence_(silence), heard_(std::chrono::steady_clock::now()) {}

    static std::size_t take_line(char* bytes, std::size_t, std::size_t size, void* self) {
        return static_cast<Answer*>(self)->guarded([&](Answer& answer) { answer.line({bytes, size}); }) ? size : 0;
    }
    static std::size_t take_body(char* bytes, std::size_t, std::size_t size, void* self) {
        const auto take = [&](Answer& answer) {
            answer.taker_.body(std::as_bytes(std::span(bytes, size)));
            // The reader may have been slow; the server was not.
            answer.heard_ = std::chrono::steady_clock::now();
        };
        return static_cast<Answer*>(self)->guarded(take) ? size : 0;
    }
    static int progress(void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
        return static_cast<Answer*>(self)->guarded([](Answer& answer) { answer.look(); }) ? 0 : 1;
    }

    void rethrow() const {
        if (failure_) std::rethrow_exception(failure_);
    }

private:
    template <typename Function>
    bool guarded(const Function& function) {
        try {
            function(*this);
            return true;
        } catch (...) {
            failure_ = std::current_exception();
            return false;
        }
    }

    void line(std::string_view text) {
        heard_ = std::chrono::steady_clock::now();
        head_bytes_ += text.size();
        if (head_bytes_ > max_head_bytes) throw Error(ErrorKind::failed, "the answer has too many headers");
        if (has_head_) return;  // a trailer
        if (text.starts_with("HTTP/")) {
            head_ = {};
            const auto space = text.find(' ');
            head_.status = space == std::string_view::npos
                               ? 0
                               : std::strtol(std::string(text.substr(space + 1)).c_str(), nullptr, 10);
        } else if (trimmed(text).empty()) {
            if (head_.status < 200) return;  // another head follows
            has_head_ = true;
            taker_.head(head_);
        } else if (const auto colon = text.find(':'); colon != std::string_view::npos) {
            head_.headers.emplace_back(in_small_letters(text.substr(0, colon)), trimmed(text.substr(colon + 1)));
        }
    }

    void look() {
        taker_.go_on();
        if (std::chrono::steady_clock::now() - heard_ > silence_)
            throw Cut(ErrorKind::source_unreachable,
                      "nothing came for " + std::to_string(silence_.count() / 1000) + " seconds");
    }

    const HttpTaker& taker_;
    const std::chrono::milliseconds silence_;
    std::chrono::steady_clock::time_point heard_;
    std::size_t head_bytes_ = 0;
    bool has_head_ = false;
    HttpHead head_;
    std::exception_ptr failure_;
};

bool is_about_trust(CURLcode code) {
    switch (code) {
        case CURLE_PEER_FAILED_VERIFICATION:
        case CURLE_SSL_CACERT_BADFILE:
        case CURLE_SSL_CERTPROBLEM:
        case CURLE_SSL_ISSUER_ERROR:
        case CURLE_SSL_INVALIDCERTSTATUS: return true;
        default: return false;
    }
}

// Of a proxy as the environment names it: perhaps with a login, and without a scheme.
std::string proxy_host(const std::string& proxy) {
    const auto url = parse_url(proxy.find("://") == std::string::npos ? "http://" + proxy : proxy);
    return url ? part(url, CURLUPART_HOST).value_or("") : "";
}

}  // namespace

std::vector<std::string> HttpHead::all(std::string_view key) const {
    std::vector<std::string> values;
    for (const auto& [name, value] : headers) {
        if (name == key) values.push_back(value);
    }
    return values;
}

std::optional<std::string> HttpHead::first(std::string_view key) const {
    const auto found =
        std::find_if(headers.begin(), headers.end(), [&](const auto& header) { return header.first == key; });
    return found == headers.end() ? std::nullopt : std::optional(found->second);
}

std::optional<Origin> origin_of(const std::string& text) {
    const auto url = parse_url(text);
    if (!url || part(url, CURLUPART_USER) || part(url, CURLUPART_PASSWORD)) return std::nullopt;
    const auto scheme = part(url, CURLUPART_SCHEME), host = part(url, CURLUPART_HOST);
    if (!scheme || !host || (*scheme != "http" && *scheme != "https")) return std::nullopt;
    const auto port = part(url, CURLUPART_PORT, CURLU_DEFAULT_PORT);
    if (!port) return std::nullopt;
    auto name = in_small_letters(*host);
    if (name.starts_with('[') && name.ends_with(']')) name = name.substr(1, name.size() - 2);
    return Origin{*scheme, std::move(name), *port};
}

std::string address_without_origin(const std::string& text) {
    const auto url = parse_url(text);
    const auto scheme = url ? part(url, CURLUPART_SCHEME) : std::nullopt;
    if (!scheme) return "an address that cannot be read";
    if (*scheme != "http" && *scheme != "https") return "an address of the kind " + *scheme + ":";
    return "an address with a user or a password in it, of " + part(url, CURLUPART_HOST).value_or("no host");
}

std::string with_query(const std::string& text, const std::vector<std::pair<std::string, std::string>>& query) {
    const auto url = parse_url(text);
    for (const auto& [key, value] : query) {
        const auto entry = key + "=" + value;
        if (!url ||
            curl_url_set(url.get(), CURLUPART_QUERY, entry.c_str(), CURLU_APPENDQUERY | CURLU_URLENCODE) != CURLUE_OK)
            throw Error(ErrorKind::failed, "no URL that can be asked");
    }
    return part(url, CURLUPART_URL).value_or("");
}

class HttpClient::Handle {
public:
    Handle() : curl_(curl_easy_init()) {
        if (curl_ == nullptr) throw std::bad_alloc();
    }
    ~Handle() { curl_easy_cleanup(curl_); }
    Handle& operator=(Handle&&) = delete;

    CURL* get() const { return curl_; }

private:
    CURL* curl_;
};

HttpClient::HttpClient() {
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) throw Error(ErrorKind::failed, "libcurl cannot be used");
}

HttpClient::~HttpClient() = default;

std::unique_ptr<HttpClient::Handle> HttpClient::take() {
    const std::lock_guard lock(mutex_);
    if (idle_.empty()) return std::make_unique<Handle>();
    auto handle = std::move(idle_.back());
    idle_.pop_back();
    return handle;
}

std::optional<std::string> HttpClient::get(const HttpRequest& request, const HttpTaker& taker) {
    auto handle = take();
    auto* const curl = handle->get();
    curl_easy_reset(curl);  // connections stay
    set(curl, CURLOPT_URL, request.url.c_str());
    set(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    set(curl, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
    set(curl, CURLOPT_FOLLOWLOCATION, 0L);
    set(curl, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
    set(curl, CURLOPT_USERAGENT, "imaged/" IMAGED_VERSION);
    set(curl, CURLOPT_NOSIGNAL, 1L);
    set(curl, CURLOPT_BUFFERSIZE, buffer_bytes);
    set(curl, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(request.silence.count() / 2));
    set(curl, CURLOPT_PROXY, request.proxy.value_or("").c_str());
    set(curl, CURLOPT_NOPROXY, "");
    // The registry's headers are not for a proxy between.
    set(curl, CURLOPT_HEADEROPT, static_cast<long>(CURLHEADER_SEPARATE));
    set(curl, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    set(curl, CURLOPT_SSL_VERIFYPEER, request.trust.verify ? 1L : 0L);
    set(curl, CURLOPT_SSL_VERIFYHOST, request.trust.verify ? 2L : 0L);
    std::string ca;
    if (!request.trust.ca.empty()) {
        ca = system_ca() + request.trust.ca;
        curl_blob blob{ca.data(), ca.size(), CURL_BLOB_COPY};
        set(curl, CURLOPT_CAINFO_BLOB, &blob);
    }
    if (const auto& client = request.trust.client) {
        set(curl, CURLOPT_SSLCERT, client->certificate.c_str());
        set(curl, CURLOPT_SSLKEY, client->key.c_str());
    }
    std::unique_ptr<curl_slist, FreeList> headers;
    for (const auto& header : request.headers) {
        auto* const longer = curl_slist_append(headers.get(), header.c_str());
        if (longer == nullptr) throw std::bad_alloc();
        static_cast<void>(headers.release());
        headers.reset(longer);
    }
    set(curl, CURLOPT_HTTPHEADER, headers.get());
    Answer answer(taker, request.silence);
    set(curl, CURLOPT_HEADERFUNCTION, &Answer::take_line);
    set(curl, CURLOPT_HEADERDATA, &answer);
    set(curl, CURLOPT_WRITEFUNCTION, &Answer::take_body);
    set(curl, CURLOPT_WRITEDATA, &answer);
    set(curl, CURLOPT_NOPROGRESS, 0L);
    set(curl, CURLOPT_XFERINFOFUNCTION, &Answer::progress);
    set(curl, CURLOPT_XFERINFODATA, &answer);
    const auto code = curl_easy_perform(curl);
    answer.rethrow();
    if (code != CURLE_OK) {
        const auto host = origin_of(request.url).value_or(Origin{}).host;
        const auto what = std::string(": ") + curl_easy_strerror(code);
        if (is_about_trust(code)) {
            // Before a proxy has answered, no other certificate than its own was seen.
            long proxy_status = 0;
            curl_easy_getinfo(curl, CURLINFO_HTTP_CONNECTCODE, &proxy_status);
            const bool of_proxy = request.proxy && proxy_status == 0;
            throw Error(
                ErrorKind::source_unreachable,
                (of_proxy ? "the certificate of the proxy " + proxy_host(*request.proxy) + " for " : "") + host + what);
        }
        throw Cut(ErrorKind::source_unreachable, host + what);
    }
    char* location = nullptr;
    curl_easy_getinfo(curl, CURLINFO_REDIRECT_URL, &location);
    auto redirect = location != nullptr ? std::optional<std::string>(location) : std::nullopt;
    const std::lock_guard lock(mutex_);
    idle_.push_back(std::move(handle));
    return redirect;
}

}  // namespace imaged
