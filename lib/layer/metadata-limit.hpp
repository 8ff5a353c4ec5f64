// SPDX-License-Identifier: Apache-2.0
// Enforces the maximum size of metadata objects (max_metadata_bytes) where objects are written.
#pragma once

#include <cstddef>

#include "layer/object.hpp"

namespace imaged {

// Throws Error(unsupported_image) for a metadata object of more than max_metadata_bytes: libostree could not read it.
void check_metadata_size(ObjectType type, std::size_t bytes);

}  // namespace imaged
