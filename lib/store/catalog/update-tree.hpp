// SPDX-License-Identifier: Apache-2.0
// Reads the tree of an image that is not pulled: its layers one over the other, from the repository if they are stored,
// else by the tables of contents of zstd:chunked layers. Of those, tables and single files are fetched; none of it is
// stored.
//
// A table is what the manifest names, and a file what the table names; whether the table is right about its layer is
// known when all of it is read. So use the result for display only.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "base/cancellation.hpp"
#include "oci/layout.hpp"
#include "source/layer-source.hpp"
#include "store/catalog/content-tree.hpp"
#include "store/repository/repository.hpp"

namespace imaged {

// PRESENT has the commit of each layer that the repository has. All are borrowed. Fetches the tables. Throws
// Error(unsupported_image) if a layer is neither here nor zstd:chunked, or if there are too many files;
// Error(digest_mismatch), Error(corrupt_input), Error(cancelled), and what SOURCE throws.
std::unique_ptr<ContentTree> make_update_tree(const Repository& repository, const ImageLayout& layout,
                                              const std::vector<std::optional<Checksum>>& present, LayerSource& source,
                                              const Cancellation& cancellation);

}  // namespace imaged
