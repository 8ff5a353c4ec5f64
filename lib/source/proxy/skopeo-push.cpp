// SPDX-License-Identifier: Apache-2.0
#include "source/proxy/skopeo-push.hpp"

#include "base/checksum.hpp"
#include "base/error.hpp"
#include "source/skopeo/skopeo-error.hpp"
#include "source/skopeo/skopeo-process.hpp"

namespace imaged {

namespace {

constexpr std::size_t max_message_bytes = 64 * 1024;

// skopeo logs "time=… level=fatal msg=\"…\"".
std::string last_message(const std::string& text) {
    const auto fatal = text.rfind("msg=\"");
    if (fatal == std::string::npos) return text.empty() ? "skopeo failed without a message" : text;
    const auto begin = fatal + 5;
    auto end = text.find("\"\n", begin);
    if (end == std::string::npos) end = text.size();
    return text.substr(begin, end - begin);
}

}  // namespace

void push_layout(int layout, const std::string& tag, const Digest& digest, const ImageReference& destination,
                 const Cancellation& cancellation, const ProxyOptions& options) {
    SkopeoProcess skopeo({.kind = SkopeoRequest::Kind::push, .image = destination.image(), .tag = tag}, options,
                         layout);
    const auto messages = skopeo.output(cancellation, max_message_bytes, "the push");
    if (skopeo.wait(cancellation) != 0) throw skopeo.named(skopeo_error(last_message(messages)));
    if (sha256(raw_manifest(destination.image(), cancellation, options)).hex() != digest.hex())
        throw Error(ErrorKind::failed, destination.image() + " serves another manifest than the one that was pushed");
}

}  // namespace imaged
