// SPDX-License-Identifier: Apache-2.0
#include "proxy-start.hpp"

#include "base/error.hpp"
#include "oci/image-reference.hpp"
#include "source/skopeo/ca-certificates.hpp"
#include "source/skopeo/skopeo-process.hpp"

namespace imaged {

namespace {

bool reads_an_image(const job::Request& request) {
    switch (request.kind) {
        case job::Kind::prepare:
        case job::Kind::check:
        case job::Kind::import:
        case job::Kind::pull: return !request.input_file;
        default: return false;
    }
}

// Of the image that the job reads or writes elsewhere; empty if it is in no registry.
std::string registry_of(const job::Request& request) {
    for (const auto& text : {request.text("destination"), request.text("source"), request.image}) {
        if (text.empty()) continue;
        const auto image = ImageReference::parse(text);
        return image.transport() == Transport::registry ? imaged::registry_of(image.name()) : std::string();
    }
    return {};
}

}  // namespace

ProxyOptions proxy_options(const job::Request& request) {
    ProxyOptions options;
    options.auth_file = request.auth_file;
    options.host_credentials = request.settings.host_credentials;
    options.stall_time = request.settings.stall_time;
    options.service = request.settings.skopeo_service;
    options.registry = registry_of(request);
    return options;
}

ProxyOptions image_proxy_options(const job::Request& request) {
    auto options = proxy_options(request);
    if (ImageReference::parse(request.image).transport() != Transport::registry) options.service.clear();
    return options;
}

std::shared_ptr<SkopeoProcess> start_proxy(const job::Request& request) {
    try {
        return reads_an_image(request) ? start_image_proxy(image_proxy_options(request)) : nullptr;
    } catch (const std::exception&) {
        return nullptr;
    }
}

}  // namespace imaged
