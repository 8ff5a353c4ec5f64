// SPDX-License-Identifier: Apache-2.0
// Access to one repository in a registry or a mirror, with the distribution spec's token authentication and HTTP Basic.
// Credentials for a registry are sent only to that registry, and to the token server that it names itself.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <mutex>
#include <optional>
#include <string>

#include "registry/auth-document.hpp"
#include "registry/host-settings.hpp"
#include "registry/http-client.hpp"
#include "registry/registries-conf.hpp"

namespace imaged {

// Settings that are the same for all repositories.
struct RegistrySettings {
    AuthDocument logins;
    ProxyEnvironment proxies;
    bool client_certificates = false;  // whether the host's may be shown
};

// The registry redirects to an unsafe place; skopeo, which might follow, is not tried either.
class Unsafe : public Error {
public:
    explicit Unsafe(const std::string& message) : Error(ErrorKind::source_denied, message) {}
};

// Throws the error for the HTTP status of HEAD, with which WHO refused a request: Cut if a retry may help, with a pause
// if WHO is busy, else Error.
[[noreturn]] void refuse(const HttpHead& head, const std::string& who);

// Thread-safe.
class RegistryAccess {
public:
    // Borrows CLIENT and SETTINGS.
    RegistryAccess(Endpoint endpoint, const RegistrySettings& settings, HttpClient& client)
        : endpoint_(std::move(endpoint)), settings_(settings), client_(client) {}

    struct Request {
        HttpRequest http;
        std::optional<std::string> authorization;  // as it is among the headers
    };
    // Makes the request for the blob DIGEST, without a range.
    Request blob(const std::string& digest, std::chrono::milliseconds silence) const;
    // Makes the request for a redirect: without credentials unless the origin is the same; trusted as the registry is.
    // Throws Unsafe if the redirect is not allowed, and Error(failed) if URL is not one of a web server.
    HttpRequest redirected(const HttpRequest& from, const std::string& url) const;
    // After HEAD, status 401, was the answer to REQUEST: the next may be another one. Calls GO_ON now and then. Throws
    // Error(source_denied), Unsafe, Cut and NotUnderstood.
    void authenticate(const Request& request, const HttpHead& head, const std::function<void()>& go_on);
    // After REQUEST could not be made at all: whether the next is made at once without TLS, as the configuration allows
    // it of a registry that has not answered yet.
    bool fall_back(const Request& request);
    void note_answer();
    // Whether one answer may have several ranges: until it turns out that it does not.
    bool gives_several() const { return gives_several_; }
    void give_up_several() { gives_several_ = false; }

    // Whether there is a login or a client certificate that the registry is shown.
    bool has_secrets() const;

    const Endpoint& endpoint() const { return endpoint_; }

private:
    HttpRequest request_for(const std::string& url, std::chrono::milliseconds silence) const;
    std::string token(const std::string& realm, const std::vector<std::pair<std::string, std::string>>& query,
                      const std::optional<std::string>& login, std::chrono::milliseconds silence,
                      const std::function<void()>& go_on) const;

    const Endpoint endpoint_;
    const RegistrySettings& settings_;
    HttpClient& client_;
    std::atomic<bool> gives_several_ = true;
    mutable std::mutex mutex_;  // of what follows
    std::string scheme_ = "https";
    bool has_answered_ = false;
    std::optional<std::string> authorization_;
};

}  // namespace imaged
