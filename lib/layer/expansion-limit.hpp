// SPDX-License-Identifier: Apache-2.0
// Limits how much a layer and an image may unpack to, so that a decompression bomb or a large sparse file ends before
// the disk is full.
#pragma once

#include <sys/stat.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace imaged {

// Unpacked bytes, zeros and holes of sparse files included. More than any layer or image in the wild.
inline constexpr std::uint64_t max_layer_bytes = 512ULL * 1024 * 1024 * 1024;
inline constexpr std::uint64_t max_image_bytes = 1024ULL * 1024 * 1024 * 1024;
// Unpacked bytes to one compressed byte; gzip cannot pass 1,032, real layers stay under 30.
inline constexpr std::uint64_t max_expansion_ratio = 400;
// A layer may hold this much whatever its compressed size is.
inline constexpr std::uint64_t free_expansion_bytes = 1024ULL * 1024 * 1024;
// Bytes of a layer that take no room where they are stored, such as the zeros of a /var/log/lastlog. They do not count
// in the ratio; the limit bounds the time that hashing them takes.
inline constexpr std::uint64_t max_hole_bytes = 16ULL * 1024 * 1024 * 1024;

// For files that are there already, CONTENT bytes in STORED ones, of a layer or an image (LIMIT): throws
// Error(unsupported_image) for more than layers could have given, naming the limit that was passed.
void require_possible_size(std::uint64_t content, std::uint64_t stored, std::uint64_t limit);
// The bytes that hold the content of a file: fewer than its size if it has holes.
std::uint64_t stored_bytes(const struct stat& status);

struct ExpansionLimits {
    std::uint64_t layer_bytes = max_layer_bytes;
    std::uint64_t image_bytes = max_image_bytes;
    std::uint64_t ratio = max_expansion_ratio;
    std::uint64_t free_bytes = free_expansion_bytes;
    std::uint64_t hole_bytes = max_hole_bytes;
};

// The count of one layer. Thread-safe: the stream and the tar's holes are counted by different threads.
class ExpansionLimit {
public:
    // IMAGE_BYTES counts all layers of the image and must outlive this. CHECK_SPACE is called now and then while the
    // layer grows; it throws when the disk must not be filled any further.
    ExpansionLimit(const ExpansionLimits& limits, std::atomic<std::uint64_t>& image_bytes,
                   std::function<void()> check_space)
        : limits_(limits), image_bytes_(image_bytes), check_space_(std::move(check_space)) {}

    void read(std::size_t compressed) { compressed_ += compressed; }
    // Throws Error(unsupported_image) naming the limit that was passed, or what CHECK_SPACE throws.
    void grow(std::uint64_t expanded);
    // The layer counts no more, and may be read again. Call when nothing calls the others any more.
    void forget() {
        image_bytes_ -= expanded_.exchange(0);
        compressed_ = holes_ = 0;
    }
    // COUNT of the bytes that were passed to grow() take no disk space. Throws Error(unsupported_image) for more than
    // the limit.
    void leave_out(std::uint64_t count);
    // A hole of COUNT bytes follows. Throws likewise, before anything of it is read.
    void check_hole(std::uint64_t count) const;

private:
    const ExpansionLimits limits_;
    std::atomic<std::uint64_t>& image_bytes_;
    const std::function<void()> check_space_;
    std::atomic<std::uint64_t> compressed_ = 0, expanded_ = 0, holes_ = 0;
};

}  // namespace imaged
