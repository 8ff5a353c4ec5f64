// SPDX-License-Identifier: Apache-2.0
// Writes the tar-diff that makes one layer from the files of the source image.
//
// The layer's tar is in a file, uncompressed. It is read as every layer is (layer/tar-reader.hpp), to find where the
// files are in it; its bytes are compared with those of the source image, so that whatever the tar is, the tar-diff
// makes exactly its bytes. No file is held in memory as a whole but a prefix, which has a limit.
#pragma once

#include <cstdint>

#include "base/cancellation.hpp"
#include "delta/delta-workers.hpp"
#include "delta/source-index.hpp"
#include "delta/tar-diff-writer.hpp"
#include "layer/byte-sink.hpp"

namespace imaged::delta {

struct LayerDiffCounts {
    std::uint64_t copied = 0;   // bytes of files that are in the source image as they are
    std::uint64_t derived = 0;  // of files that were made from another version
    std::uint64_t data = 0;     // all other bytes of the tar
};

// TAR has SIZE bytes. Two threads of its own, beside WORKERS. All is borrowed. Throws what TarReader and SINK throw.
LayerDiffCounts write_layer_diff(int tar, std::uint64_t size, SourceIndex& sources, DeltaWorkers& workers,
                                 TarDiffVersion version, ByteSink& sink, const Cancellation& cancellation);

}  // namespace imaged::delta
