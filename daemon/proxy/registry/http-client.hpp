// SPDX-License-Identifier: Apache-2.0
// Sends HTTP GET requests with libcurl. Follows no redirects and sends no credentials by itself; keeps only connections
// between requests. HTTP/1.1 only.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.hpp"

namespace imaged {

// Certificates for the connection to a host.
struct HostTrust {
    // Paths of a certificate and its key.
    struct Client {
        std::string certificate, key;
    };
    bool verify = true;            // its certificate
    std::string ca;                // certificates, PEM, besides the system's
    std::optional<Client> client;  // what this host shows
};

struct HttpRequest {
    std::string url;                   // http: or https:
    std::vector<std::string> headers;  // "KEY: VALUE"
    HostTrust trust;
    std::optional<std::string> proxy;
    std::chrono::milliseconds silence{};  // a connection without data for so long has failed
};

struct HttpHead {
    long status = 0;
    std::vector<std::pair<std::string, std::string>> headers;  // keys in small letters

    std::vector<std::string> all(std::string_view key) const;
    std::optional<std::string> first(std::string_view key) const;
};

// Receives an answer. An exception from these ends the request, and get() throws it.
struct HttpTaker {
    std::function<void(const HttpHead&)> head;
    std::function<void(std::span<const std::byte>)> body;
    std::function<void()> go_on;  // called about once a second
};

// A request that did not get its whole answer: a caller that asks again may get it.
class Cut : public Error {
public:
    using Error::Error;
};

// The parts of a URL that name the server.
struct Origin {
    std::string scheme, host;  // in small letters, without brackets
    std::string port;          // never empty
    bool operator==(const Origin&) const = default;
};
// Returns nullopt if URL is not one of http: or https:, or has a user in it.
std::optional<Origin> origin_of(const std::string& url);
// Names URL, which has no origin, for a message: by its kind, and without a user and a password.
std::string address_without_origin(const std::string& url);
// URL with KEY=VALUE added for each of QUERY.
std::string with_query(const std::string& url, const std::vector<std::pair<std::string, std::string>>& query);

// Thread-safe.
class HttpClient {
public:
    HttpClient();
    ~HttpClient();
    HttpClient& operator=(HttpClient&&) = delete;

    // Returns where the answer redirects to, as a whole URL; nullopt for nowhere. Throws Cut for a connection that cannot
    // be made or breaks, and Error(source_unreachable) for one that cannot be trusted.
    std::optional<std::string> get(const HttpRequest& request, const HttpTaker& taker);

private:
    class Handle;
    std::unique_ptr<Handle> take();

    std::mutex mutex_;
    std::vector<std::unique_ptr<Handle>> idle_;  // with their connections
};

}  // namespace imaged
