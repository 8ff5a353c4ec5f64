// SPDX-License-Identifier: Apache-2.0
// Reads the frames of the files to fetch, one after the other, and skips the bytes between them in the ranges.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "chunked/chunked-plan.hpp"
#include "layer/byte-source.hpp"

namespace imaged {

class WantedFrames : public ByteSource {
public:
    // All borrowed. FETCHED gives the bytes of RANGES, which are the plan's, without anything between.
    WantedFrames(const ChunkedPlan& plan, std::span<const BlobRange> ranges, ByteSource& fetched)
        : plan_(plan), ranges_(ranges), fetched_(fetched) {}

    // Throws Error(corrupt_input) where FETCHED ends early.
    std::size_t read(std::span<std::byte> buffer) override;

private:
    // Goes to the next byte of a file. False at the end.
    bool find_next();
    void skip(std::uint64_t count);

    const ChunkedPlan& plan_;
    const std::span<const BlobRange> ranges_;
    ByteSource& fetched_;
    std::size_t file_ = 0, range_ = 0;
    std::uint64_t position_ = 0;  // in the blob, of the next byte of FETCHED
    std::vector<std::byte> skipped_;
};

}  // namespace imaged
