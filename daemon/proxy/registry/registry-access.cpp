// SPDX-License-Identifier: Apache-2.0
#include "registry/registry-access.hpp"

#include <algorithm>
#include <utility>

#include "base/base64.hpp"
#include "base/json.hpp"
#include "registry/challenge.hpp"
#include "registry/not-understood.hpp"

namespace imaged {

namespace {

// A token is some KiB.
constexpr std::size_t max_token_bytes = 64 * 1024;
constexpr std::chrono::seconds default_retry_after(2);
// Of one that is busy; what asks for none is not.
constexpr std::chrono::milliseconds least_pause(1);

// The host that requests for docker.io go to.
std::string host_to_ask(const std::string& host) {
    return host == "docker.io" ? "registry-1.docker.io" : host;
}

// What may stand in a header.
bool is_visible(const std::string& text) {
    return std::all_of(text.begin(), text.end(), [](unsigned char c) { return c > 0x20 && c < 0x7f; });
}

std::string parameter(const Challenge& challenge, const char* key) {
    const auto found = challenge.parameters.find(key);
    return found == challenge.parameters.end() ? std::string() : found->second;
}

std::string token_of(const std::string& text) {
    const auto document = parse_json(text);
    for (const char* key : {"token", "access_token"}) {
        const auto found = document.is_object() ? document.find(key) : document.end();
        if (!document.is_object() || found == document.end() || !found->is_string()) continue;
        auto token = found->get<std::string>();
        if (!token.empty() && is_visible(token)) return token;
    }
    throw NotUnderstood("the token server gave no token");
}

std::optional<Challenge> find(const HttpHead& head, const char* scheme) {
    for (const auto& header : head.all("www-authenticate")) {
        for (const auto& challenge : parse_challenges(header)) {
            if (challenge.scheme == scheme) return challenge;
        }
    }
    return std::nullopt;
}

}  // namespace

void refuse(const HttpHead& head, const std::string& who) {
    const auto message = who + ": status " + std::to_string(head.status);
    switch (head.status) {
        case 401:
        case 403: throw Error(ErrorKind::source_denied, message);
        case 404:
        case 410: throw Error(ErrorKind::not_found, message);
        default: break;
    }
    if (head.status == 429 || head.status == 503) {
        const auto wanted = parse_retry_after(head.first("retry-after").value_or(""), std::time(nullptr));
        const auto when =
            wanted ? ", and asks to come back in " + std::to_string(wanted->count()) + " seconds" : std::string();
        throw Cut(ErrorKind::source_unreachable, who + " is busy (status " + std::to_string(head.status) + ")" + when,
                  std::max<std::chrono::milliseconds>(wanted.value_or(default_retry_after), least_pause));
    }
    const bool never = head.status == 501 || head.status == 505;  // not implemented
    if ((head.status >= 500 && !never) || head.status == 408) throw Cut(ErrorKind::source_unreachable, message);
    throw Error(ErrorKind::failed, message);
}

HttpRequest RegistryAccess::request_for(const std::string& url, std::chrono::milliseconds silence) const {
    const auto origin = origin_of(url);
    if (!origin) throw NotUnderstood("no URL that can be asked");
    // certs.d has a port in the names of those hosts only that are named with one.
    const auto named = endpoint_.host();
    const auto own = origin_of(origin->scheme + "://" + host_to_ask(named) + "/");
    const bool is_own = own == origin;
    const bool default_port = origin->port == (origin->scheme == "https" ? "443" : "80");
    auto trust = host_trust(is_own         ? named
                            : default_port ? origin->host
                                           : origin->host + ":" + origin->port,
                            is_own && settings_.client_certificates);
    trust.verify = !is_own || !endpoint_.insecure;
    // What a body is compressed by would be part of what it is.
    return {url, {"Accept-Encoding: identity"}, std::move(trust), settings_.proxies.proxy_for(*origin), silence};
}

RegistryAccess::Request RegistryAccess::blob(const std::string& digest, std::chrono::milliseconds silence) const {
    std::string scheme;
    std::optional<std::string> authorization;
    {
        const std::lock_guard lock(mutex_);
        scheme = scheme_;
        authorization = authorization_;
    }
    auto http = request_for(
        scheme + "://" + host_to_ask(endpoint_.host()) + "/v2/" + endpoint_.path() + "/blobs/" + digest, silence);
    if (authorization) http.headers.push_back("Authorization: " + *authorization);
    return {std::move(http), std::move(authorization)};
}

HttpRequest RegistryAccess::redirected(const HttpRequest& from, const std::string& url) const {
    const auto before = origin_of(from.url), after = origin_of(url);
    if (!after)
        throw Error(ErrorKind::failed,
                    endpoint_.host() + " redirects to " + address_without_origin(url) + ", which is not followed");
    if (before->scheme == "https" && after->scheme != "https" && !endpoint_.insecure)
        throw Unsafe(endpoint_.host() + " redirects from TLS to plain HTTP, http://" + after->host + ":" + after->port);
    auto next = request_for(url, from.silence);
    // As skopeo does, which trusts the storage behind a registry with the registry's certificates.
    next.trust.ca += host_trust(endpoint_.host(), false).ca;
    next.trust.verify = !endpoint_.insecure;
    if (before == after) {
        next.headers = from.headers;
    } else {
        for (const auto& header : from.headers) {
            if (!header.starts_with("Authorization:") && !header.starts_with("Accept-Encoding:"))
                next.headers.push_back(header);
        }
    }
    return next;
}

bool RegistryAccess::fall_back(const Request& request) {
    const std::lock_guard lock(mutex_);
    if (!endpoint_.insecure || has_answered_) return false;
    // It may be away: what it speaks is tried again then.
    const bool had_tls = request.http.url.starts_with("https:");
    scheme_ = had_tls ? "http" : "https";
    return had_tls;
}

bool RegistryAccess::has_secrets() const {
    try {
        return settings_.logins.login(endpoint_.repository) ||
               (settings_.client_certificates && host_trust(endpoint_.host(), true).client);
    } catch (const NotUnderstood&) {
        return true;
    }
}

void RegistryAccess::note_answer() {
    const std::lock_guard lock(mutex_);
    has_answered_ = true;
}

void RegistryAccess::authenticate(const Request& request, const HttpHead& head, const std::function<void()>& go_on) {
    const std::lock_guard lock(mutex_);
    if (authorization_ != request.authorization) return;  // somebody has been quicker
    const auto host = endpoint_.host();
    const auto login = settings_.logins.login(endpoint_.repository);
    if (const auto bearer = find(head, "bearer")) {
        const auto realm = parameter(*bearer, "realm");
        const auto server = origin_of(realm);
        if (!server) throw NotUnderstood("the token server has no URL that can be asked");
        if (request.http.url.starts_with("https:") && server->scheme != "https") {
            if (!login || endpoint_.insecure) throw NotUnderstood("a token server without TLS");
            throw Unsafe(host + " has TLS, and its token server has not: http://" + server->host + ":" + server->port);
        }
        std::vector<std::pair<std::string, std::string>> query;
        if (login) query.emplace_back("account", login->substr(0, login->find(':')));
        if (const auto service = parameter(*bearer, "service"); !service.empty())
            query.emplace_back("service", service);
        query.emplace_back("scope", "repository:" + endpoint_.path() + ":pull");
        authorization_ = "Bearer " + token(realm, query, login, request.http.silence, go_on);
    } else if (find(head, "basic")) {
        auto wanted = login ? std::optional("Basic " + encode_base64(*login)) : std::nullopt;
        if (wanted == request.authorization) throw Error(ErrorKind::source_denied, host + ": authentication required");
        authorization_ = std::move(wanted);
    } else {
        throw NotUnderstood("a registry that wants another kind of login");
    }
}

std::string RegistryAccess::token(const std::string& realm,
                                  const std::vector<std::pair<std::string, std::string>>& query,
                                  const std::optional<std::string>& login, std::chrono::milliseconds silence,
                                  const std::function<void()>& go_on) const {
    auto request = request_for(with_query(realm, query), silence);
    if (login) request.headers.push_back("Authorization: Basic " + encode_base64(*login));
    HttpHead answer;
    std::string text;
    HttpTaker taker;
    taker.head = [&](const HttpHead& head) { answer = head; };
    taker.body = [&](std::span<const std::byte> bytes) {
        if (text.size() + bytes.size() > max_token_bytes) throw NotUnderstood("a token that is too long");
        text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    };
    taker.go_on = go_on;
    client_.get(request, taker);
    // A redirect would get the login, or lose it.
    if (answer.status != 200) refuse(answer, "the token server of " + endpoint_.host());
    return token_of(text);
}

}  // namespace imaged
