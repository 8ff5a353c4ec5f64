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
// What skopeo says of an index that it would not leave as it is.
constexpr const char* not_preserved = "Instructed to preserve digests";

// Runs the push REQUEST. Returns whether it succeeds; throws what skopeo's message means unless EXPECTED is in it.
bool push(SkopeoRequest request, int layout, const char* expected, const Cancellation& cancellation,
          const ProxyOptions& options) {
    const auto destination = request.image;
    const auto skopeo = SkopeoRun::start(std::move(request), options, layout);
    const auto messages = skopeo->output(cancellation, max_message_bytes, "the push");
    if (skopeo->wait(cancellation) == 0) return true;
    const auto message = messages.empty() ? "skopeo failed without a message" : fatal_message(messages);
    if (expected != nullptr && message.find(expected) != std::string::npos) return false;
    throw with_certificate_fault(skopeo->named(skopeo_error(message)), destination, skopeo->by_service());
}

}  // namespace

void push_layout(int layout, const std::string& tag, const Digest& digest, const ImageReference& destination,
                 const Cancellation& cancellation, const ProxyOptions& options) {
    push({.kind = SkopeoRequest::Kind::push, .image = destination.image(), .tag = tag}, layout, nullptr, cancellation,
         options);
    if (sha256(raw_manifest(destination.image(), cancellation, options)) != digest.checksum())
        throw Error(ErrorKind::failed, destination.image() + " serves another manifest than the one that was pushed");
}

bool push_index(int layout, const std::string& tag, const ImageReference& destination, IndexForm form,
                const Cancellation& cancellation, const ProxyOptions& options) {
    const bool preserved = form == IndexForm::preserved;
    const auto kind = preserved ? SkopeoRequest::Kind::push_index : SkopeoRequest::Kind::rewrite_index;
    return push({.kind = kind, .image = destination.image(), .tag = tag}, layout, preserved ? not_preserved : nullptr,
                cancellation, options);
}

}  // namespace imaged
