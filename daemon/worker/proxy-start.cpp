// SPDX-License-Identifier: Apache-2.0
#include "proxy-start.hpp"

#include <algorithm>

#include "base/rate-limit.hpp"
#include "oci/image-reference.hpp"
#include "source/skopeo/ca-certificates.hpp"
#include "source/skopeo/skopeo-run.hpp"

namespace imaged {

namespace {

// Of the image that the job reads or writes elsewhere; empty if it is in no registry.
std::string registry_of(const job::Request& request) {
    const auto* elsewhere = request.image();
    if (const auto* const exported = request.as<job::Export>()) elsewhere = &exported->destination;
    if (const auto* const verify = request.as<job::Verify>(); verify != nullptr && verify->source)
        elsewhere = &*verify->source;
    return elsewhere != nullptr && elsewhere->transport() == Transport::registry
               ? imaged::registry_of(elsewhere->name())
               : std::string();
}

// Bytes a second, 0 for no limit: the lower of those that hold for the job.
std::uint64_t rate_of(const job::Request& request) {
    const auto rate = request.settings.rate, background = request.settings.background_rate;
    if (!request.background || background == 0) return rate;
    return rate == 0 ? background : std::min(rate, background);
}

}  // namespace

ProxyOptions proxy_options(const job::Request& request) {
    ProxyOptions options;
    if (const auto rate = rate_of(request); rate > 0) options.rate = std::make_shared<RateLimit>(rate);
    options.background = request.background;
    options.auth_file = request.auth_file;
    options.host_credentials = request.settings.host_credentials;
    options.stall_time = request.settings.stall_time;
    options.service = request.settings.skopeo_service;
    options.registry = registry_of(request);
    return options;
}

ProxyOptions image_proxy_options(const job::Request& request) {
    auto options = proxy_options(request);
    if (request.image()->transport() != Transport::registry) options.service.clear();
    return options;
}

std::shared_ptr<SkopeoRun> start_proxy(const job::Request& request) {
    try {
        // An archive is read without skopeo, if it can be (source/archive/image-reader.hpp).
        const bool needed = request.traits().reads_image && request.image()->transport() != Transport::oci_archive;
        return needed ? start_image_proxy(image_proxy_options(request)) : nullptr;
    } catch (const std::exception&) {
        return nullptr;
    }
}

}  // namespace imaged
