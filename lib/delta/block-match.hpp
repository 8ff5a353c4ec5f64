// SPDX-License-Identifier: Apache-2.0
// Finds equal and nearly equal parts of two versions of a file. Used for readers that do not support frames with a
// prefix, and for files that are too large for such a frame.
//
// A hash of each block of the older file is kept, 8 bytes or more for each; the newer one is searched byte by byte with
// a rolling hash. From a block that is found on, both are compared for as long as at least half of their bytes are
// equal, as they are in programs whose addresses have moved.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/cancellation.hpp"

namespace imaged::delta {

// SIZE bytes of the newer file: at OFFSET of the older one, each with its difference added if there are DIFFERENCES;
// or new (NEW_BYTES).
struct Match {
    bool new_bytes = false;
    std::uint64_t offset = 0, size = 0;
    std::vector<std::byte> differences = {};
};

class BlockIndex {
public:
    // FILE, of SIZE bytes, is borrowed; it is read in place. Throws Error(failed) or Error(cancelled).
    BlockIndex(int file, std::uint64_t size, const Cancellation& cancellation);

    // Returns the matches that make CONTENT, in its order. Thread-safe.
    std::vector<Match> match(std::span<const std::byte> content, const Cancellation& cancellation) const;

    static std::uint64_t memory_for(std::uint64_t size);

private:
    struct Slot {
        std::uint32_t tag = 0;
        std::uint32_t block = 0;  // number of it, from 1 on; 0 if there is none
    };
    class Search;

    void add(std::uint64_t hash, std::uint32_t block);
    // 0 if none has this hash.
    std::uint32_t find(std::uint64_t hash) const;

    const int file_;
    const std::uint64_t size_;
    const std::size_t block_bytes_;
    std::vector<Slot> slots_;
};

}  // namespace imaged::delta
