// SPDX-License-Identifier: Apache-2.0
// Blobs of an OCI image layout in a local directory (OCI image-layout, "Blobs"), or of the directory that skopeo calls
// dir: (containers-transports(5)), read without going through skopeo, which would copy and hash every byte once more.
// skopeo has opened the image before, so the containers policy was asked, and the digest is verified here all the same.
#pragma once

#include <memory>

#include "oci/image-reference.hpp"
#include "oci/manifest.hpp"
#include "source/blob.hpp"

namespace imaged {

// The blob of an oci: or dir: image; null for any other transport, and where the file is not there or is no regular
// file: skopeo knows what to say then.
std::unique_ptr<Blob> open_layout_blob(const ImageReference& image, const Descriptor& descriptor);

}  // namespace imaged
