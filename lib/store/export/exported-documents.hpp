// SPDX-License-Identifier: Apache-2.0
// Makes the manifest and the config of an exported image: the stored documents with the digests of the new layers.
// Unknown fields stay, in their order; a document in which nothing changes stays byte for byte.
#pragma once

#include <string>
#include <vector>

#include "layer/compressor.hpp"
#include "oci/manifest.hpp"
#include "store/records/stored-image.hpp"

namespace imaged {

// A layer that was written.
struct ExportedLayer {
    Descriptor blob;
    Digest diff_id;
};

std::string exported_config(const StoredImage& image, const std::vector<ExportedLayer>& layers);
// CONFIG describes what exported_config() gave. An OCI manifest, whatever the stored one was.
std::string exported_manifest(const StoredImage& image, const Descriptor& config,
                              const std::vector<ExportedLayer>& layers, Compression compression);

}  // namespace imaged
