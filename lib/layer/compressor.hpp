// SPDX-License-Identifier: Apache-2.0
// Compresses a layer. The same input gives the same output in one build.
#pragma once

#include <memory>

#include "layer/byte-sink.hpp"

namespace imaged {

enum class Compression { none, gzip, zstd };

class Compressor : public ByteSink {
public:
    // Writes what is left.
    virtual void finish() = 0;
};

// Returns a compressor that writes to SINK, which is borrowed.
std::unique_ptr<Compressor> compress(Compression compression, ByteSink& sink);

}  // namespace imaged
