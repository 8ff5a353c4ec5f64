// SPDX-License-Identifier: Apache-2.0
// Computes the checksum of a file object whose content is in a file.
#pragma once

#include "layer/object.hpp"

namespace imaged {

// Reads CONTENT from its offset to its end. Throws system_error().
Checksum hash_file(const FileMeta& meta, int content);

}  // namespace imaged
