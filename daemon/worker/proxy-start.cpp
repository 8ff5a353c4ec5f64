// SPDX-License-Identifier: Apache-2.0
#include "proxy-start.hpp"

#include <algorithm>

#include "base/rate-limit.hpp"
#include "oci/image-reference.hpp"
#include "source/skopeo/ca-certificates.hpp"
#include "source/skopeo/skopeo-run.hpp"

namespace imaged {

namespace {

// Of the image that the job reads or writes elsewhere, if it is in a registry.
std::optional<std::string> registry_of(const job::Request& request) {
    const auto* elsewhere = request.image();
    if (const auto* const exported = request.as<job::Export>()) elsewhere = &exported->destination;
    if (const auto* const verify = request.as<job::Verify>(); verify != nullptr && verify->source)
        elsewhere = &*verify->source;
    if (elsewhere == nullptr || elsewhere->transport() != Transport::registry) return {};
    return imaged::registry_of(elsewhere->name());
}

// Bytes a second, if there is a limit: the lower of those that hold for the job.
std::optional<std::uint64_t> rate_of(const job::Request& request) {
    const auto rate = request.settings.rate, background = request.settings.background_rate;
    if (!request.background || !background) return rate;
    return rate ? std::min(rate, background) : background;
}

}  // namespace

ProxyOptions proxy_options(const job::Request& request) {
    ProxyOptions options;
    if (const auto rate = rate_of(request)) options.rate = std::make_shared<RateLimit>(*rate);
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
    if (request.image()->transport() != Transport::registry) options.service.reset();
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
