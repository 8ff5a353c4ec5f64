// SPDX-License-Identifier: Apache-2.0
// Names of images: TRANSPORT:NAME as skopeo writes them (containers-transports(5)), with an optional signature source
// in front as ostree-ext writes it. A value type; parsing throws Error(invalid_reference) ending in what was refused.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "oci/digest.hpp"

namespace imaged {

enum class Transport { registry, oci, oci_archive, docker_archive, containers_storage, docker_daemon, dir };

enum class SignatureSource {
    configured,        // no prefix: the host's containers policy decides, whatever it says
    container_policy,  // ostree-image-signed: the containers policy decides, and must not be insecureAcceptAnything
    unverified,        // ostree-unverified-image: or ostree-unverified-registry:
    ostree_remote,     // ostree-remote-image:REMOTE: or ostree-remote-registry:REMOTE: keys of an OSTree remote
};

class ImageReference {
public:
    // Accepts every form that ostree-ext and skopeo accept; "registry:NAME" is read as docker://NAME. An @ in the name
    // of a registry's image stands before a digest only, and no message repeats a text that has one elsewhere.
    static ImageReference parse(std::string_view text);

    Transport transport() const { return transport_; }
    const std::string& name() const { return name_; }  // without transport and slashes
    SignatureSource signature_source() const { return source_; }
    const std::optional<std::string>& remote() const { return remote_; }  // OSTree remote, of ostree_remote only

    // TRANSPORT:NAME; what the image's ref is made from.
    std::string image() const;
    // The name for skopeo: image(), without the tag of a name in a registry that has a digest as well. The digest
    // decides, as for other tools; skopeo refuses such a name.
    std::string source() const;
    // The digest that the name of an image in a registry ends with, if it ends with one.
    std::optional<std::string> digest() const;
    // image() with its signature source in front, in the one canonical spelling.
    std::string canonical() const;
    // Throws Error(invalid_reference) where this is a name in a registry that no registry takes. parse() does not ask:
    // other programs may have stored such a name.
    void require_registry_name() const;
    // The same image with SOURCE, which is not ostree_remote.
    ImageReference with(SignatureSource source) const;
    // The same image with the signature source of OTHER.
    ImageReference with_source_of(const ImageReference& other) const;
    // Return the image with DIGEST or with TAG in the registry repository of this image, in place of this image's tag
    // and digest. with_tag() is also for an image in an OCI layout.
    ImageReference with_digest(const Digest& digest) const { return with_suffix("@" + digest.text()); }
    ImageReference with_tag(std::string_view tag) const { return with_suffix(":" + std::string(tag)); }

    bool operator==(const ImageReference&) const = default;

private:
    ImageReference with_suffix(std::string_view suffix) const;

    Transport transport_ = Transport::registry;
    std::string name_;
    SignatureSource source_ = SignatureSource::configured;
    std::optional<std::string> remote_;
};

}  // namespace imaged
