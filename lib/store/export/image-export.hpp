// SPDX-License-Identifier: Apache-2.0
// Writes a stored image as an OCI image: into a layout directory, an archive or a registry.
//
// The layers are made anew from their commits, each as the layer that it was: the same trees come out when the image is
// unpacked, and pulling it gives the same layers. Config and manifest are the stored ones, but for the digests: a
// layer's bytes are rarely what they were, since times and the original's compression are not stored.
//
// Crash rule: what names the image (the index, the archive's name, the registry's tag) comes last.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/cancellation.hpp"
#include "layer/compressor.hpp"
#include "oci/image-reference.hpp"
#include "source/proxy/image-proxy.hpp"
#include "store/files/repository-writer.hpp"
#include "store/repository/import-observer.hpp"

namespace imaged {

struct ExportRequest {
    std::string repository;  // absolute path
    ImageReference image;
    ImageReference destination;  // registry, oci or oci_archive; paths are absolute
    Compression compression = Compression::gzip;
    bool chunked = false;  // as zstd:chunked; COMPRESSION is zstd
    ProxyOptions proxy;
    // Makes scratch directories and takes the lock; if null, this process does.
    std::shared_ptr<RepositoryWriter> writer = {};
};

struct ExportedImage {
    Digest original, digest;
    unsigned layers = 0;
    unsigned layers_kept = 0;         // whose uncompressed content has the digest that it had
    std::uint64_t bytes_written = 0;  // compressed, of all layers
};

// Throws Error(not_found) for an image that is not stored, Error(repository_damaged), Error(invalid_argument) for a
// destination that is in the way, and for a registry what push_layout() throws.
ExportedImage export_image(const ExportRequest& request, Cancellation& cancellation, ImportObserver& observer);

}  // namespace imaged
