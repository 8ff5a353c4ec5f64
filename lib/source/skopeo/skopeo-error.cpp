// SPDX-License-Identifier: Apache-2.0
#include "source/skopeo/skopeo-error.hpp"

#include <algorithm>
#include <array>
#include <string_view>

#include "base/json.hpp"

namespace imaged {

namespace {

struct Pattern {
    std::string_view text;
    ErrorKind kind;
    std::string_view advice = {};  // what to do, if skopeo does not say it
    std::string_view also = {};    // a second text that must be there
};

constexpr std::string_view no_docker_archive =
    "the file is no docker-archive, or it is damaged; an archive of an OCI layout is named as oci-archive:FILE";
constexpr std::string_view no_oci_archive =
    "the file is no archive of an OCI layout, or it is damaged; what `docker save` writes is named as "
    "docker-archive:FILE";
constexpr std::string_view which_of_archive =
    "name one by its tag or its number, as in docker-archive:FILE:NAME:TAG or docker-archive:FILE:@0";

// In this order: a registry's "unauthorized" may be wrapped in words that a later line knows.
constexpr std::array patterns{
    // A file of this host that cannot be read, whatever is wrong in it: credentials, registries.conf, registries.d.
    Pattern{credentials_words, ErrorKind::failed},
    Pattern{"loading registries configuration", ErrorKind::failed},
    Pattern{"parsing /", ErrorKind::failed, {}, ".yaml: "},
    Pattern{"Error loading trust policy", ErrorKind::policy_rejected},
    Pattern{"Source image rejected", ErrorKind::policy_rejected},
    Pattern{"rejected by policy", ErrorKind::policy_rejected},
    // What newer image proxies say without the words above.
    Pattern{"A signature was required", ErrorKind::policy_rejected},
    Pattern{"None of the signatures were accepted", ErrorKind::policy_rejected},
    Pattern{"is not accepted", ErrorKind::policy_rejected},
    Pattern{"Signature for digest", ErrorKind::policy_rejected},
    Pattern{"Invalid GPG signature", ErrorKind::policy_rejected},
    Pattern{"signature verification failed", ErrorKind::policy_rejected},
    Pattern{"policy.json", ErrorKind::policy_rejected},
    Pattern{"invalid policy in \"", ErrorKind::policy_rejected},
    Pattern{"no space left on device", ErrorKind::no_space},
    Pattern{"disk quota exceeded", ErrorKind::no_space},
    // imaged-proxy's own.
    Pattern{"No space left on device", ErrorKind::no_space},
    Pattern{"Disk quota exceeded", ErrorKind::no_space},
    // Archives: before words that would be about a registry elsewhere.
    Pattern{"untarring file", ErrorKind::corrupt_input, no_oci_archive},
    Pattern{"index.json: no such file or directory", ErrorKind::corrupt_input, no_oci_archive, "/imaged-job-"},
    Pattern{"loading tar component", ErrorKind::corrupt_input, no_docker_archive, "manifest.json"},
    Pattern{"loading tar component", ErrorKind::corrupt_input},
    Pattern{"Some layer tarfiles are missing", ErrorKind::corrupt_input},
    Pattern{"Inconsistent layer count", ErrorKind::corrupt_input},
    Pattern{"used for two different DiffID", ErrorKind::corrupt_input},
    Pattern{"expected 1 item, got 0", ErrorKind::corrupt_input, "the archive has no image"},
    Pattern{"Unexpected tar manifest.json", ErrorKind::invalid_reference, which_of_archive},
    Pattern{"manifest items available", ErrorKind::not_found, which_of_archive},
    Pattern{"Invalid source index", ErrorKind::invalid_reference, which_of_archive},
    Pattern{"reference does not include a tag", ErrorKind::invalid_reference, which_of_archive},
    Pattern{"Tag \"", ErrorKind::not_found, "the archive has no image of that name", "not found"},
    Pattern{"corrupted blob", ErrorKind::digest_mismatch},
    Pattern{"bytes in blob, got", ErrorKind::digest_mismatch},
    Pattern{"Digest did not match", ErrorKind::digest_mismatch},
    Pattern{"does not match provided manifest digest", ErrorKind::digest_mismatch},
    Pattern{"unauthorized", ErrorKind::source_denied},
    Pattern{"authentication required", ErrorKind::source_denied},
    Pattern{"access to the resource is denied", ErrorKind::source_denied},
    Pattern{"invalid username/password", ErrorKind::source_denied},
    Pattern{"403 (Forbidden)", ErrorKind::source_denied},
    Pattern{"status code 403", ErrorKind::source_denied},
    Pattern{"status: 401", ErrorKind::source_denied},
    Pattern{"status: 403", ErrorKind::source_denied},
    Pattern{"StatusCode: 401", ErrorKind::source_denied},
    Pattern{"StatusCode: 403", ErrorKind::source_denied},
    Pattern{": denied", ErrorKind::source_denied},
    Pattern{"401 (Unauthorized)", ErrorKind::source_denied},
    Pattern{"manifest unknown", ErrorKind::not_found},
    Pattern{"name unknown", ErrorKind::not_found},
    Pattern{"blob unknown", ErrorKind::not_found},
    Pattern{"no descriptor found for reference", ErrorKind::not_found},
    Pattern{"no image found in manifest list", ErrorKind::not_found},
    Pattern{"no image found in image index", ErrorKind::not_found},
    Pattern{"Tag is missing", ErrorKind::not_found},
    Pattern{"does not resolve to an image ID", ErrorKind::not_found},
    Pattern{"404 (Not Found)", ErrorKind::not_found},
    Pattern{"status 404", ErrorKind::not_found},
    Pattern{"status: 404", ErrorKind::not_found},
    Pattern{"StatusCode: 404", ErrorKind::not_found},
    Pattern{"no such file or directory", ErrorKind::not_found},
    Pattern{"archive file not found", ErrorKind::not_found},
    Pattern{"invalid reference format", ErrorKind::invalid_reference},
    Pattern{"Invalid image name", ErrorKind::invalid_reference},
    Pattern{"invalid image name", ErrorKind::invalid_reference},
    Pattern{"repository name must be", ErrorKind::invalid_reference},
    Pattern{"more than one image in oci", ErrorKind::invalid_reference,
            "name one by its tag, as in oci:DIRECTORY:TAG or oci-archive:FILE:TAG"},
    Pattern{"both a tag and digest", ErrorKind::invalid_reference, "name the image by its digest alone"},
    Pattern{"connection refused", ErrorKind::source_unreachable},
    Pattern{"connection reset", ErrorKind::source_unreachable},
    Pattern{"no such host", ErrorKind::source_unreachable},
    Pattern{"server misbehaving", ErrorKind::source_unreachable},
    Pattern{"network is unreachable", ErrorKind::source_unreachable},
    Pattern{"no route to host", ErrorKind::source_unreachable},
    Pattern{"i/o timeout", ErrorKind::source_unreachable},
    Pattern{"TLS handshake timeout", ErrorKind::source_unreachable},
    Pattern{"context deadline exceeded", ErrorKind::source_unreachable},
    Pattern{"unexpected EOF", ErrorKind::source_unreachable},
    // A connection that the registry closed in place of an answer.
    Pattern{": EOF", ErrorKind::source_unreachable},
    Pattern{"transport connection broken", ErrorKind::source_unreachable},
    Pattern{"broken pipe", ErrorKind::source_unreachable},
    Pattern{"x509:", ErrorKind::source_unreachable},
    Pattern{"server gave HTTP response to HTTPS client", ErrorKind::source_unreachable},
    Pattern{"toomanyrequests", ErrorKind::source_unreachable},
    Pattern{"too many requests", ErrorKind::source_unreachable},
    Pattern{"Too Many Requests", ErrorKind::source_unreachable},
    Pattern{"pinging container registry", ErrorKind::source_unreachable},
    Pattern{"status code 5", ErrorKind::source_unreachable},
    Pattern{"500 (Internal Server Error)", ErrorKind::source_unreachable},
    Pattern{"502 (Bad Gateway)", ErrorKind::source_unreachable},
    Pattern{"503 (Service Unavailable)", ErrorKind::source_unreachable},
    Pattern{"504 (Gateway Timeout)", ErrorKind::source_unreachable},
    Pattern{"unexpected HTTP status: 5", ErrorKind::source_unreachable},
    Pattern{"StatusCode: 429", ErrorKind::source_unreachable},
    Pattern{"StatusCode: 5", ErrorKind::source_unreachable},
    Pattern{"unsupported legacy manifest MIME type", ErrorKind::unsupported_image,
            "it is a Docker schema 1 manifest, which is obsolete; push the image again with a current tool"},
    Pattern{"unsupported manifest MIME type: application/vnd.oci.image.index", ErrorKind::unsupported_image,
            index_of_indexes},
    Pattern{"unsupported manifest MIME type: application/vnd.docker.distribution.manifest.list",
            ErrorKind::unsupported_image, index_of_indexes},
    Pattern{"Unexpectedly received a manifest list instead of a manifest", ErrorKind::unsupported_image,
            index_of_indexes},
    Pattern{"unsupported manifest MIME type", ErrorKind::unsupported_image},
    Pattern{"unsupported image-specific operation on artifact", ErrorKind::unsupported_image},
    Pattern{"unsupported MIME type", ErrorKind::unsupported_image},
    Pattern{"unsupported schema version", ErrorKind::unsupported_image},
    Pattern{"Unimplemented manifest MIME type", ErrorKind::unsupported_image},
    Pattern{"unexpected end of JSON input", ErrorKind::corrupt_input},
    Pattern{"invalid character", ErrorKind::corrupt_input},
    Pattern{"json: cannot unmarshal", ErrorKind::corrupt_input},
    Pattern{"exceeded maximum allowed size", ErrorKind::corrupt_input},
    Pattern{"unsupported digest algorithm", ErrorKind::unsupported_image},
    Pattern{"invalid checksum digest", ErrorKind::corrupt_input},
};

// TEXT with a blank in place of each run of control characters and blanks, and none at its end.
std::string one_line(const std::string& text) {
    std::string line;
    for (const char c : text) {
        const bool blank = c == ' ' || (static_cast<unsigned char>(c) < ' ');
        if (!blank)
            line += c;
        else if (!line.empty() && line.back() != ' ')
            line += ' ';
    }
    if (!line.empty() && line.back() == ' ') line.pop_back();
    return line;
}

}  // namespace

std::string fatal_message(const std::string& output) {
    const std::string mark = "level=fatal msg=";
    const auto found = output.rfind(mark);
    if (found == std::string::npos) return output;
    auto text = output.substr(found + mark.size());
    text.resize(std::min(text.find('\n'), text.size()));
    const auto quoted = parse_json(text);
    return quoted.is_string() ? quoted.get<std::string>() : text;
}

Error skopeo_error(const std::string& said) {
    const auto message = one_line(said);
    for (const auto& pattern : patterns) {
        if (message.find(pattern.text) == std::string::npos || message.find(pattern.also) == std::string::npos)
            continue;
        return Error(pattern.kind,
                     pattern.advice.empty() ? message : message + " (" + std::string(pattern.advice) + ")");
    }
    return Error(ErrorKind::failed, message);
}

}  // namespace imaged
