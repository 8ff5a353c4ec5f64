// SPDX-License-Identifier: Apache-2.0
#include "oci/export-destination.hpp"

#include "base/error.hpp"

namespace imaged {

std::pair<std::string, std::optional<std::string>> split_tag(const std::string& name) {
    const auto colon = name.find(':');
    if (colon == std::string::npos) return {name, std::nullopt};
    return {name.substr(0, colon), name.substr(colon + 1)};
}

void check_export_destination(const ImageReference& destination) {
    const auto refuse = [&](const std::string& why) {
        throw Error(ErrorKind::invalid_argument, "the destination " + destination.canonical() + " " + why);
    };
    if (destination.signature_source() != SignatureSource::configured) refuse("must not name a signature source");
    if (destination.transport() == Transport::registry) {
        if (destination.name().find('@') != std::string::npos) refuse("must not name a digest");
        return;
    }
    if (destination.transport() != Transport::oci && destination.transport() != Transport::oci_archive)
        refuse("is none of oci:, oci-archive: and docker://");
    const auto [path, tag] = split_tag(destination.name());
    if (!path.starts_with('/')) refuse("is not an absolute path");
    if (tag && tag->empty()) refuse("ends in an empty tag");
}

void check_delta_destination(const ImageReference& destination) {
    check_export_destination(destination);
    const auto& name = destination.name();
    const auto begin = name.rfind('/') == std::string::npos ? 0 : name.rfind('/');
    if (destination.transport() == Transport::registry && name.find(':', begin) != std::string::npos)
        throw Error(
            ErrorKind::invalid_argument,
            "the destination " + destination.canonical() +
                " must not name a tag: a delta lies beside the image that it makes, and is found by its digest");
}

}  // namespace imaged
