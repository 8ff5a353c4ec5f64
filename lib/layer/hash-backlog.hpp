// SPDX-License-Identifier: Apache-2.0
// Delays the hash of a stream, so that it is computed together with the hashes of the files in it: two SHA-256 streams
// at a time take less time than one after the other (base/paired-sha256.hpp).
//
// Belongs to the thread that consumes the stream.
#pragma once

#include <cstddef>
#include <deque>
#include <span>

#include "base/checksum.hpp"
#include "base/paired-sha256.hpp"

namespace imaged {

class HashBacklog {
public:
    // More of the stream; borrowed for as long as it counts among blocks().
    void add(std::span<const std::byte> block) {
        if (!block.empty()) blocks_.push_back(block);
    }
    // Number of blocks, the latest ones, that are not hashed to their end.
    std::size_t blocks() const { return blocks_.size(); }
    // Hashes what is left of the oldest block.
    void catch_up();
    // Updates MESSAGE with BYTES, and catches up on as many.
    void update_beside(PairedSha256& message, std::span<const std::byte> bytes);
    // Catches up on everything. The checksum of the stream.
    Checksum finish();

private:
    void drop_front(std::size_t bytes);

    std::deque<std::span<const std::byte>> blocks_;  // what is left of each, none empty
    PairedSha256 stream_;
};

}  // namespace imaged
