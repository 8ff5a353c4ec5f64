// SPDX-License-Identifier: Apache-2.0
// Reads an image from the source in its reference. skopeo opens it, decides by the containers policy, and reads what
// imaged does not read itself.
//
// Layers in a registry are read by the service that talks to registries, without skopeo (registry-blobs.hpp). imaged
// reads the layers of an oci: or dir: image itself. It also reads all of an oci-archive: that is an uncompressed file,
// if the containers policy demands nothing of any image and only one image of the archive can be meant; skopeo would
// unpack such an archive first. skopeo reads all other sources, or reports what is wrong with them.
#pragma once

#include <list>
#include <memory>
#include <mutex>
#include <optional>

#include "source/archive/image-archive.hpp"
#include "source/layer-source.hpp"
#include "source/proxy/image-proxy.hpp"
#include "source/proxy/registry-blobs.hpp"
#include "source/proxy/source-image.hpp"

namespace imaged {

class ImageReader : public LayerSource {
public:
    // Borrows all; starts skopeo where it will be needed. Throws what load_host_policy() throws.
    ImageReader(const ImageReference& image, const ProxyOptions& options, const Cancellation& cancellation);

    // Returns the result of open_source_image(). PINNED, if given, is the only digest that is accepted. Call once.
    SourceImage open(const std::optional<Digest>& pinned);
    // In place of open(), for layers of an image that is known already: its manifest DIGEST may have left the place
    // where the image's name leads.
    void open_for_layers(const Digest& digest);

    // After open(). Whether the source may list artifacts about its images: a registry, or an OCI layout.
    bool has_referrers() const {
        return image_.transport() == Transport::registry || image_.transport() == Transport::oci;
    }
    // The index of what there is about the manifest DIGEST, as text; not verified. Nullopt if there is none.
    std::optional<std::string> referrers(const Digest& digest);
    // A manifest that such an index lists, as text; not verified. Throws Error of some kind if it is not there.
    std::string artifact_manifest(const Descriptor& artifact);

    // After open() or open_for_layers(); also blobs of artifacts that the image's repository has.
    std::unique_ptr<Blob> open(const Descriptor& blob) override;
    bool gives_parts() override { return !archive_ && registry_blobs_.gives_parts(); }
    bool gives_several_parts() override { return registry_blobs_.gives_several_parts(); }
    std::unique_ptr<Blob> open_parts(const Descriptor& blob, std::span<const BlobRange> ranges) override {
        return registry_blobs_.open_parts(blob, ranges);
    }
    const Cancellation& cancellation() const override { return cancellation_; }
    std::chrono::milliseconds stall_time() const override { return options_.stall_time; }
    // The limit of a source on the network; null for other sources.
    RateLimit* rate() const override {
        return image_.transport() == Transport::registry ? options_.rate.get() : nullptr;
    }

private:
    // Null where skopeo is to read it.
    std::unique_ptr<ImageArchive> archive(const std::optional<Digest>& pinned) const;
    ImageProxy& proxy();
    // Returns a proxy that has the image open; a new one if the last one has become useless.
    ImageProxy& proxy_for_blobs();
    void open_by_digest(const Digest& digest);

    const ImageReference& image_;
    const ProxyOptions& options_;
    const Cancellation& cancellation_;
    std::mutex mutex_;
    std::list<ImageProxy> proxies_;  // the last one is used; blobs of the others may still be open
    std::optional<Digest> digest_;   // of the image that is open
    RegistryBlobs registry_blobs_;
    std::unique_ptr<ImageArchive> archive_;
};

}  // namespace imaged
