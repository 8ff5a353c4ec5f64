// SPDX-License-Identifier: Apache-2.0
// Imports an image: fetches the missing layers, several at once, and merges them with those that are stored into one
// commit.
//
// Crash rule: a layer's ref is written when the layer is complete, verified and durable, the image's ref after
// everything else, the ref that keeps the version which it replaces before it. Whatever happens before leaves at most
// unreferenced objects and a scratch directory that the next job removes.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/cancellation.hpp"
#include "layer/expansion-limit.hpp"
#include "layer/object-sink.hpp"
#include "oci/digest.hpp"
#include "oci/image-reference.hpp"
#include "source/proxy/image-proxy.hpp"
#include "source/proxy/source-image.hpp"
#include "store/fetch/import-plan.hpp"
#include "store/files/repository-writer.hpp"
#include "store/records/stored-image.hpp"
#include "store/repository/import-observer.hpp"

namespace imaged {

struct ImportRequest {
    std::string repository;  // absolute path; made where nothing is
    ImageReference image;
    std::optional<ImageReference> target;  // stored under this one instead
    std::optional<Digest> digest;          // nothing else is accepted
    ProxyOptions proxy;
    unsigned layers_at_once = 2;     // where the repository allows more than one
    std::uint64_t disk_reserve = 0;  // bytes that stay free, where the repository does not want more
    ExpansionLimits expansion;
    // For repairs: what is known of the image already. Its source is asked for nothing but the layers that are missing,
    // and a stored merge that is complete stays, unless REMAKE_MERGE.
    std::optional<SourceImage> known = {};
    bool remake_merge = false;
    bool repairs = false;  // what a verification found damaged
    // Whether a check may record the update that it finds, for everybody to see.
    bool remember_update = true;
    // Layers that this program did not verify are fetched again.
    LayerTrust trust = LayerTrust::refs;
    // The image is in this file instead of where its reference says: borrowed, any archive that ImageArchive knows,
    // compressed or not, a pipe as well. NAME picks one of several images in it.
    std::optional<int> archive = {};
    std::optional<std::string> archive_name = {};
    // Changes the repository; null: this process does.
    std::shared_ptr<RepositoryWriter> writer = {};
    bool any_architecture = false;  // a bootable image of another architecture is taken as well
    bool deltas = true;             // layers may be made by a delta
    bool keep_previous = false;     // the version that is replaced gets a ref of its own (kept-ref.hpp)
};

struct PreparedImage {
    SourceImage source;
    ImportPlan plan;
};

// Finds out what an import would do. Writes nothing, and makes no repository.
PreparedImage prepare_import(const ImportRequest& request, const Cancellation& cancellation, ImportObserver& observer);

struct ImportedImage {
    std::optional<Digest> previous_digest;
    bool changed = false;
    StoredImage image;
    unsigned layers_fetched = 0;
    std::uint64_t bytes_fetched = 0, bytes_reused = 0;  // compressed
    SinkCounts objects = {};
    std::uint64_t relabelled = 0;       // files and directories that the image's SELinux policy gave another label
    std::string signature_policy = {};  // what decided that the image may be used
    unsigned layers_partial = 0;        // of those fetched: without files that the repository had
    std::uint64_t bytes_saved = 0;      // of those reused: what was not fetched of these layers
    // Layers that were fetched as a whole because their parts (zstd:chunked) or a delta were of no use, and why.
    std::vector<std::string> fetched_whole = {};
    std::optional<Digest> delta = {};  // the digest of the delta that was used
    unsigned delta_layers = 0;         // of those fetched: made by it
    std::uint64_t delta_bytes = 0;
};

// CANCELLATION is also requested when one of several layers fails; the first cause is what is thrown. Throws
// Error(unsupported_image) for a bootable image of another architecture or system than this host's, unless the request
// allows it or knows the image already.
ImportedImage import_image(const ImportRequest& request, Cancellation& cancellation, ImportObserver& observer);

}  // namespace imaged
