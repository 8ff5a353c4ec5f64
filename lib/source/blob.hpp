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
    Blob(const Blob&) = delete;
    Blob& operator=(const Blob&) = delete;

    // To be read to its end, by whoever has the blob; owned by it.
    virtual int fd() const = 0;
    // Told of all bytes that were read, in order. Returns how many of them are left, at the beginning: what the source
    // has sent before is taken out.
    virtual std::size_t take(std::span<std::byte> bytes) { return bytes.size(); }
    // To be called when all bytes have come, or nothing has come for a while: some sources end the stream only then.
    // Asking twice is fine.
    virtual void request_verdict() {}
    // After the end: only this tells whether the bytes had the digest that was asked for. Throws Error(digest_mismatch)
    // or what went wrong on the way.
    virtual void finish() = 0;
};

}  // namespace imaged
