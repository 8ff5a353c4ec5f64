// SPDX-License-Identifier: Apache-2.0
// The files of a stored image as deltas name them: by their paths in the image, and those of its OSTree commit by their
// objects, which is where other programs find them in its layers.
#pragma once

#include "base/cancellation.hpp"
#include "delta/source-index.hpp"
#include "store/records/stored-image.hpp"
#include "store/repository/repository.hpp"

namespace imaged {

// All is borrowed by what is returned. Throws Error(unsupported_image) for a repository whose objects are not files,
// Error(repository_damaged).
std::unique_ptr<delta::SourceIndex> delta_sources(const Repository& repository, const StoredImage& image,
                                                  const Cancellation& cancellation);

}  // namespace imaged
