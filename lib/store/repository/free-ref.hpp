// SPDX-License-Identifier: Apache-2.0
// Checks whether the name of a ref is available: refs are files in directories, so no ref can have a name below another
// ref's.
#pragma once

#include "oci/image-reference.hpp"
#include "store/repository/repository.hpp"

namespace imaged {

// Call it before anything is fetched for IMAGE. Throws Error(invalid_reference) if an image that REPOSITORY holds is in
// the way of IMAGE's ref, naming that image, or if a part of the ref would be longer than the name of a file may be.
void require_free_ref(const Repository& repository, const ImageReference& image);

}  // namespace imaged
