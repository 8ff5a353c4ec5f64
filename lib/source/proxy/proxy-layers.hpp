// SPDX-License-Identifier: Apache-2.0
// Layers of an image that skopeo has open; those of a local layout are read without it.
#pragma once

#include "oci/image-reference.hpp"
#include "source/layer-source.hpp"
#include "source/proxy/image-proxy.hpp"
#include "source/proxy/layout-blob.hpp"

namespace imaged {

class ProxyLayers : public LayerSource {
public:
    // Borrows both.
    ProxyLayers(ImageProxy& proxy, const ImageReference& image) : proxy_(proxy), image_(image) {}

    std::unique_ptr<Blob> open(const Descriptor& blob) override {
        auto local = open_layout_blob(image_, blob);
        return local ? std::move(local) : proxy_.blob(blob.digest, blob.size);
    }
    const Cancellation& cancellation() const override { return proxy_.cancellation(); }
    std::chrono::milliseconds stall_time() const override { return proxy_.stall_time(); }

private:
    ImageProxy& proxy_;
    const ImageReference& image_;
};

}  // namespace imaged
