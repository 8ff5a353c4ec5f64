// SPDX-License-Identifier: Apache-2.0
// Imports one layer from its source into staged objects: fetches, decompresses, hashes, reads and verifies it. No
// object is moved into the repository yet, and no ref is written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "layer/derived-layer.hpp"
#include "layer/expansion-limit.hpp"
#include "layer/layer-stream.hpp"
#include "layer/object-sink.hpp"
#include "oci/image-reference.hpp"
#include "oci/layout.hpp"
#include "source/layer-source.hpp"
#include "store/repository/repository.hpp"

namespace imaged {

struct StagedLayer {
    std::unique_ptr<ObjectSink> sink;
    Checksum commit;                               // what the layer's ref will name
    bool foreign_commit = false;                   // made by others: may be incomplete
    std::optional<std::string> detached_metadata;  // of the commit layer's commit, serialised a{sv}
    bool partial = false;                          // files that the repository has were not fetched
    bool by_delta = false;                         // made by a delta
    SinkCounts early;                              // of what is in the repository already (early-files.hpp)
};

// Functions that put files of a layer into the repository before the layer is complete; absent ones do not.
struct EarlyPublishing {
    std::function<std::unique_ptr<ObjectSink>()> make_sink = {};
    std::function<void()> sync = {};
};

// What the import of a layer calls.
struct LayerHooks {
    std::function<std::unique_ptr<ObjectSink>()> make_sink;
    std::function<void(std::size_t)> progress;  // receives the compressed bytes of each read, in another thread
    EarlyPublishing early;
    // Receives the bytes to fetch of a layer that is fetched in part or made by a delta, as soon as they are known.
    std::function<void(std::uint64_t)> expect_bytes;
    std::function<void()> little_saved;  // called if all of such a layer is fetched, for it is nearly all
};

// A layer to import. Borrows everything.
struct LayerWork {
    LayerSource& source;
    const ImageLayer& layer;
    const DerivedLayerRules& rules;
    ExpansionLimit& limit;
    const LayerHooks& hooks;
};

// Reads the tar of WORK's layer from STREAM, to its end, into STAGED, whose sink is set. Returns the SHA-256 of it.
Checksum read_layer(LayerStream& stream, const LayerWork& work, StagedLayer& staged);
// Throws Error(digest_mismatch) unless DIFF_ID is LAYER's.
void require_diff_id(const ImageLayer& layer, const Checksum& diff_id);

// Reads SOURCE, also one that was stopped, to its end.
void drain(DescriptorSource& source);

// Has READ read BLOB of SOURCE to its end, and verifies it. Calls PROGRESS with the number of compressed bytes of each
// read, from another thread; LIMIT, which may be null, counts them too. If READ refuses bytes that are not those of
// BLOB, reports that instead.
void read_blob(LayerSource& source, const Descriptor& blob, ExpansionLimit* limit,
               const std::function<void(std::size_t)>& progress, const std::function<void(StoppableSource&)>& read);

// Fetches the whole layer. Throws Error(digest_mismatch) if the blob does not have its digest or its content not its
// diff-id, Error(corrupt_input), Error(source_unreachable), … ; the first cause wins.
StagedLayer import_layer(const LayerWork& work);

}  // namespace imaged
