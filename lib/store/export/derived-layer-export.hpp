// SPDX-License-Identifier: Apache-2.0
// Writes the commit of a derived layer as the tar of an ordinary container layer. The tar has the image's own
// paths: usr/etc is etc, and /var is in its place. It has the layer's whiteouts, and hard links to files of lower
// layers as links. It does not list directories that the layer did not list.
//
// The export lacks what the import did not keep: devices, fifos and sockets, names that are not UTF-8, times, and which
// files of one layer were hard links of each other if the layer's record does not list them (LayerRecord).
#pragma once

#include "base/cancellation.hpp"
#include "base/checksum.hpp"
#include "layer/byte-sink.hpp"
#include "layer/tar-writer.hpp"
#include "store/repository/repository.hpp"

namespace imaged {

struct LayerInImage {
    Checksum commit;
    Checksum image_tree;  // the root of the image's tree, which has the owner and mode of files of lower layers
};

// ENTRY is the TarWriter's. Throws Error(repository_damaged) naming what is missing or corrupt.
void write_derived_layer(const Repository& repository, const Cancellation& cancellation, const LayerInImage& layer,
                         ByteSink& sink, const TarEntryHook& entry = {});

}  // namespace imaged
