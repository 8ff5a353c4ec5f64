// SPDX-License-Identifier: Apache-2.0
// Imports one zstd:chunked layer and fetches only those of its files that the repository lacks. Its tar is reassembled
// and passes through the same stages as every layer's, so objects, commit and diff-id are those of a full pull. The
// digest of the blob is not verified, because the blob is not read completely; the diff-id is, which the config says,
// whose digest the manifest has.
#pragma once

#include <cstdint>
#include <optional>

#include "store/fetch/layer-import.hpp"
#include "store/fetch/local-files.hpp"

namespace imaged {

// Below this a layer is here sooner than its table is read.
inline constexpr std::uint64_t least_chunked_bytes = 1024 * 1024;

// Bytes of the tables of a layer; nullopt if it has none.
std::optional<std::uint64_t> chunked_table_bytes(const Descriptor& blob);
// Bytes that import_chunked_layer() would fetch of such a layer, its tables included, which this fetches. Throws
// likewise.
std::uint64_t chunked_layer_bytes(LayerSource& source, const Descriptor& blob, LocalFiles& files,
                                  ExpansionLimit& looked_at);

// As import_layer(), for a layer that has annotations of zstd:chunked, from a source that gives parts. LOOKED_AT limits
// what is read of local files before anything is fetched for them. Where most of the layer is to be fetched, the rest
// of it is too: such a layer is complete, and its blob verified. Throws Error in whichever way parts, table and
// tar-split are not what they should be; import_layer() may still do.
StagedLayer import_chunked_layer(const LayerWork& work, LocalFiles& files, ExpansionLimit& looked_at);

}  // namespace imaged
