// SPDX-License-Identifier: Apache-2.0
// A blob that nothing else has verified: computes its digest while it is read.
#pragma once

#include <cstdint>
#include <string>

#include "base/checksum.hpp"
#include "base/error.hpp"
#include "oci/manifest.hpp"
#include "source/blob.hpp"

namespace imaged {

class HashedBlob : public Blob {
public:
    explicit HashedBlob(const Descriptor& descriptor) : descriptor_(descriptor) {}

    std::size_t take(std::span<std::byte> bytes) override {
        hash_.update(bytes);
        size_ += bytes.size();
        return bytes.size();
    }
    void finish() override {
        if (const Digest digest(hash_.finish()); digest != descriptor_.digest)
            throw Error(ErrorKind::digest_mismatch,
                        "the blob has the digest " + digest.text() + ", not " + descriptor_.digest.text());
        if (size_ != descriptor_.size)
            throw Error(ErrorKind::corrupt_input, "the blob has " + std::to_string(size_) +
                                                      " bytes, the manifest says " + std::to_string(descriptor_.size));
    }

protected:
    const Descriptor& descriptor() const { return descriptor_; }

private:
    const Descriptor descriptor_;
    Sha256 hash_;
    std::uint64_t size_ = 0;
};

}  // namespace imaged
