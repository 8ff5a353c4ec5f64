// SPDX-License-Identifier: Apache-2.0
// Reads the host's settings for other hosts: certificates (containers-certs.d(5)) and HTTP proxies (the environment).
// Throws NotUnderstood for settings that it does not know.
#pragma once

#include <optional>
#include <string>

#include "registry/http-client.hpp"

namespace imaged {

// For HOST[:PORT] as certs.d names it. WITH_CLIENT: also the certificate that this host shows it.
HostTrust host_trust(const std::string& host, bool with_client);

struct ProxyEnvironment {
    std::string http, https, none;  // HTTP_PROXY, HTTPS_PROXY, NO_PROXY

    static ProxyEnvironment of_process();
    // The proxy for ORIGIN, if there is one. This host itself is never asked for by a proxy.
    std::optional<std::string> proxy_for(const Origin& origin) const;
};

}  // namespace imaged
