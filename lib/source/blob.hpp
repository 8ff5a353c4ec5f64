// SPDX-License-Identifier: Apache-2.0
// A blob from an image's source: bytes to read, and a verdict on them at the end.
#pragma once

#include <cstddef>
#include <span>

namespace imaged {

// Belongs to the thread that reads it, but for finish(), which may come from another once reading has ended.
class Blob {
public:
    virtual ~Blob() = default;
    Blob() = default;
    Blob& operator=(Blob&&) = delete;

    // Owned by the blob. The holder must read it to the end.
    virtual int fd() const = 0;
    // Call with all bytes that were read, in order. Removes bytes that the source has sent before; returns how many
    // bytes are left, at the beginning of BYTES.
    virtual std::size_t take(std::span<std::byte> bytes) { return bytes.size(); }
    // Call when all bytes have arrived, or none has arrived for a while: some sources end the stream only then. A
    // second call has no effect.
    virtual void request_verdict() {}
    // Verifies that the bytes have the requested digest. Call after the end of the stream. Throws
    // Error(digest_mismatch), or the error that occurred while the source was read.
    virtual void finish() = 0;
};

}  // namespace imaged
