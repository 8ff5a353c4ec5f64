// SPDX-License-Identifier: Apache-2.0
// An image in one file: an OCI layout in a tar (oci-archive), or what `docker save` writes (docker-archive). The
// content decides which of them it is. Every blob is read in place, and verified.
//
// A docker-archive has no manifest that a registry would serve: one is made, the same for the same archive.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/cancellation.hpp"
#include "base/file-descriptor.hpp"
#include "oci/digest.hpp"
#include "source/archive/tar-index.hpp"
#include "source/layer-source.hpp"
#include "source/proxy/source-image.hpp"

namespace imaged {

class ImageArchive : public LayerSource {
public:
    // FILE can be read at any place and is not compressed. NAME picks one of several images: a tag of the layout, or a
    // name that the archive gives the image. PINNED is the only digest that is accepted, where it is given.
    // Throws Error(corrupt_input), Error(unsupported_image), Error(not_found), Error(digest_mismatch), and
    // Error(policy_rejected) where the containers policy for such archives wants more than an archive can have.
    ImageArchive(FileDescriptor file, const ImageReference& reference, const std::optional<std::string>& name,
                 const std::optional<Digest>& pinned, const Cancellation& cancellation);

    // The image that skopeo would find in FILE, an oci-archive, under TAG, with all of its layers there; POLICY is what
    // decided that it may be used. Throws Error of some kind for everything else, and where what is meant is left to
    // choose.
    static std::unique_ptr<ImageArchive> open_tagged(FileDescriptor file, const std::optional<std::string>& tag,
                                                     const std::string& policy, const std::optional<Digest>& pinned,
                                                     const Cancellation& cancellation);

    const SourceImage& image() const { return *image_; }

    std::unique_ptr<Blob> open(const Descriptor& blob) override;
    const Cancellation& cancellation() const override { return cancellation_; }
    std::chrono::milliseconds stall_time() const override { return ProxyOptions{}.stall_time; }

private:
    ImageArchive(FileDescriptor file, const Cancellation& cancellation);

    std::string read(const std::string& name, std::size_t limit) const;
    std::string verified(const Descriptor& blob, std::size_t limit, const std::string& what) const;
    void open_layout(Descriptor chosen, const std::string& policy);
    void open_docker(const std::optional<std::string>& name, const std::string& policy);
    void require_digest(const std::optional<Digest>& pinned) const;
    // Where BLOB lies. Throws Error(corrupt_input) unless it is there and has its size.
    TarIndex::Place place_of(const Descriptor& blob) const;
    void finish(std::string manifest_text, std::string config_text, const std::string& policy);

    const FileDescriptor file_;
    const Cancellation& cancellation_;
    const TarIndex index_;
    std::map<Digest, TarIndex::Place> blobs_;  // of a docker-archive
    std::optional<SourceImage> image_;
};

}  // namespace imaged
