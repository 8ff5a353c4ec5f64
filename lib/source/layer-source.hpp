// SPDX-License-Identifier: Apache-2.0
// The interface to the blobs of an image's layers: in skopeo, a layout or an archive.
#pragma once

#include <chrono>
#include <memory>
#include <span>

#include "base/blob-range.hpp"
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
    // Whether parts of blobs can be had; a source that is away for a while has them still. Thread-safe, as the next.
    virtual bool gives_parts() { return false; }
    // Whether one request for several of them is as good as one for each, as far as is known from those that have
    // ended.
    virtual bool gives_several_parts() { return false; }
    // Asks for RANGES of BLOB, at most max_parts of them, in ascending order, and waits for nothing; null if there
    // are no parts. Their bytes come one after the other, and the verdict is on the number of them alone.
    virtual std::unique_ptr<Blob> open_parts(const Descriptor&, std::span<const BlobRange>) { return nullptr; }
    static constexpr std::size_t max_parts = 32;
    virtual const Cancellation& cancellation() const = 0;
    // Longest wait for the next byte.
    virtual std::chrono::milliseconds stall_time() const = 0;
    // The limit that all bytes read from the source count towards; null for none. Owned by the source.
    virtual RateLimit* rate() const { return nullptr; }
};

}  // namespace imaged
