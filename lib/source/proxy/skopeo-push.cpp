// SPDX-License-Identifier: Apache-2.0
#include "source/proxy/skopeo-push.hpp"

#include "base/checksum.hpp"
#include "base/error.hpp"
#include "source/skopeo/ca-certificates.hpp"
#include "source/skopeo/skopeo-error.hpp"
#include "source/skopeo/skopeo-run.hpp"

namespace imaged {

namespace {

constexpr std::size_t max_message_bytes = 64 * 1024;

}  // namespace

void push_layout(int layout, const std::string& tag, const Digest& digest, const ImageReference& destination,
                 const Cancellation& cancellation, const ProxyOptions& options) {
    const auto skopeo = SkopeoRun::start({.kind = SkopeoRequest::Kind::push, .image = destination.image(), .tag = tag},
                                         options, layout);
    const auto messages = skopeo->output(cancellation, max_message_bytes, "the push");
    if (skopeo->wait(cancellation) != 0)
        throw with_certificate_fault(
            skopeo->named(skopeo_error(messages.empty() ? "skopeo failed without a message" : fatal_message(messages))),
            destination.image(), skopeo->by_service());
    if (sha256(raw_manifest(destination.image(), cancellation, options)).hex() != digest.hex())
        throw Error(ErrorKind::failed, destination.image() + " serves another manifest than the one that was pushed");
}

}  // namespace imaged
