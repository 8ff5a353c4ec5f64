// SPDX-License-Identifier: Apache-2.0
// The interface to the blobs of an image's layers: in skopeo, a layout or an archive.
#pragma once

#include <chrono>
#include <memory>

#include "base/cancellation.hpp"
#include "base/rate-limit.hpp"
#include "oci/manifest.hpp"
#include "source/blob.hpp"

namespace imaged {

class LayerSource {
public:
    virtual ~LayerSource() = default;
    // Thread-safe. The source outlives the blob.
    virtual std::unique_ptr<Blob> open(const Descriptor& blob) = 0;
    // Whether parts of blobs can be had. Thread-safe, as the next.
    virtual bool gives_parts() { return false; }
    // Asks for LENGTH bytes of BLOB from OFFSET on, and waits for nothing; null where there are no parts. The verdict
    // is on their number alone.
    virtual std::unique_ptr<Blob> open_part(const Descriptor&, std::uint64_t /*offset*/, std::uint64_t /*length*/) {
        return nullptr;
    }
    virtual const Cancellation& cancellation() const = 0;
    // Longest wait for the next byte.
    virtual std::chrono::milliseconds stall_time() const = 0;
    // What all that is read of it counts towards; null for none. Owned by the source.
    virtual RateLimit* rate() const { return nullptr; }
};

}  // namespace imaged
