// SPDX-License-Identifier: Apache-2.0
// Reads ranges of a blob as one stream of bytes. Several are requested at a time, some of them ahead.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "chunked/chunked-plan.hpp"
#include "layer/byte-source.hpp"
#include "source/layer-source.hpp"

namespace imaged {

class BlobParts : public StoppableSource {
public:
    // SOURCE, which gives parts of blobs, and BLOB are borrowed. TAKEN is called with the number of bytes of each read.
    // A request has at least LEAST_RANGES, whatever their size, if so many are left: two of them show whether the
    // source gives several parts.
    BlobParts(LayerSource& source, const Descriptor& blob, std::vector<BlobRange> ranges,
              std::function<void(std::size_t)> taken, std::size_t least_ranges = 1)
        : source_(source),
          blob_(blob),
          ranges_(std::move(ranges)),
          taken_(std::move(taken)),
          least_ranges_(least_ranges) {}

    // Throws what the source throws, and Error(source_unreachable) where it gives no part, or too little.
    std::size_t read(std::span<std::byte> buffer) override;
    void stop() override;
    // After all bytes were read: what the source says of them, thrown as read() does.
    void finish();
    std::uint64_t total() const { return total_; }

private:
    // Requests on the way at the same time: as many round trips to the registry are one.
    static constexpr std::size_t ahead = 6;
    // The most bytes of a request with more than the least ranges, so that the rest can be requested at the same time.
    static constexpr std::uint64_t most_bytes = 4 * 1024 * 1024;

    struct Part {
        std::unique_ptr<Blob> blob;
        std::unique_ptr<DescriptorSource> bytes;
        std::uint64_t length;
    };
    // The next that one request asks for.
    std::span<const BlobRange> next_ranges() const;
    void ask_ahead();
    void finish_first();

    LayerSource& source_;
    const Descriptor& blob_;
    const std::vector<BlobRange> ranges_;
    const std::function<void(std::size_t)> taken_;
    const std::size_t least_ranges_;
    std::size_t asked_ = 0;  // ranges
    std::uint64_t total_ = 0;
    std::mutex mutex_;  // of what follows
    std::deque<Part> parts_;
    bool stopped_ = false;
};

}  // namespace imaged
