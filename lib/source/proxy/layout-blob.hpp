// SPDX-License-Identifier: Apache-2.0
// Reads blobs of an OCI image layout in a local directory (OCI image-layout, "Blobs"), or of a directory of the
// transport dir: (containers-transports(5)), without skopeo, which would copy and hash every byte once more. skopeo has
// opened the image before and so checked the containers policy; the digest is verified here as well.
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
