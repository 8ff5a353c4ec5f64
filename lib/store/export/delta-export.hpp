// SPDX-License-Identifier: Apache-2.0
// Makes a delta (oci/delta-artifact.hpp) from a stored image to another one, and writes it to a layout, an archive or a
// registry.
//
// The layers of the target are read from its source, for the store does not keep the bytes of a layer. Each layer that
// the stored image does not have is written to a nameless file in a scratch directory of the repository, verified, and
// compared from there. A layer that a tar-diff would not make smaller is put in as it is.
//
// Crash rule: what names the delta comes last, as of any export (image-export.hpp).
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/cancellation.hpp"
#include "delta/tar-diff-writer.hpp"
#include "layer/expansion-limit.hpp"
#include "oci/image-reference.hpp"
#include "source/proxy/image-proxy.hpp"
#include "store/files/repository-writer.hpp"
#include "store/repository/import-observer.hpp"

namespace imaged {

struct DeltaRequest {
    std::string repository;  // absolute path
    ImageReference from;     // stored
    // The target. If an image of this name is stored, its source must serve the version that is stored.
    ImageReference image;
    ImageReference destination;  // as of an export; of a registry, the repository, whose tags are left alone
    delta::TarDiffVersion version = delta::TarDiffVersion::v2;
    unsigned layers_at_once = 2;
    std::uint64_t disk_reserve = 0;  // bytes that stay free
    ExpansionLimits expansion;
    ProxyOptions proxy;  // of the destination; the image's source has a registry of its own
    // Makes scratch directories and takes the lock; if null, this process does.
    std::shared_ptr<RepositoryWriter> writer = {};
};

struct ExportedDelta {
    Digest digest;                               // of the artifact's manifest
    Digest original;                             // of the image's
    unsigned layers = 0, layers_kept = 0;        // of the image; of these, in the stored one
    unsigned layers_made = 0, layers_whole = 0;  // of the delta: as a tar-diff, as they are
    std::uint64_t bytes_written = 0;             // of the delta's layers
    std::uint64_t bytes_replaced = 0;            // of the image's layers that they make, compressed
    std::string signature_policy;                // what decided that the image may be read
};

// Throws Error(not_found) for an image that is not stored, Error(invalid_argument) for two that are the same, for a
// destination that is in the way, and where a delta would save nothing, Error(digest_mismatch) for a source that serves
// another version than the stored one, and what ImageReader and push_layout() throw.
ExportedDelta export_delta(const DeltaRequest& request, Cancellation& cancellation, ImportObserver& observer);

}  // namespace imaged
