// SPDX-License-Identifier: Apache-2.0
// Imports one layer that a delta makes of files of a stored image. Its tar is produced as a stream and passes through
// the same stages as every layer's, so objects, commit and diff-id are those of a full pull. The layer's own blob is
// not read: the diff-id is verified, which the config says, whose digest the manifest has. The delta is not trusted.
#pragma once

#include "oci/delta-artifact.hpp"
#include "store/fetch/layer-import.hpp"
#include "store/fetch/local-files.hpp"

namespace imaged {

// As import_layer(). The source has the blobs of the delta, FILES those of the image that it starts from. Throws Error
// in whichever way the delta is not what it should be; import_layer() may still do.
StagedLayer import_delta_layer(const LayerWork& work, const DeltaLayer& made, LocalFiles& files);

}  // namespace imaged
