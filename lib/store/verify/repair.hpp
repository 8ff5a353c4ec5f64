// SPDX-License-Identifier: Apache-2.0
// Verifies images and repairs damaged ones: writes lost refs again, replaces damaged objects by fetching their layers,
// fetches layers that were never verified, and computes a wrong merge again.
//
// The stored manifest says what to fetch, so the source needs no more than the layers that are broken. Where the
// manifest itself is lost, the image is imported anew, and becomes what the source has now.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/cancellation.hpp"
#include "layer/expansion-limit.hpp"
#include "source/proxy/image-proxy.hpp"
#include "store/verify/verify.hpp"

namespace imaged {

struct VerifyRequest {
    std::string repository;              // absolute path
    std::vector<ImageReference> images;  // all of them if it is empty
    bool repair = false;
    std::optional<ImageReference> source;  // of the layers of all images, instead of their own references
    // Whether images may be opened that are stored under a local name (oci:, dir:, …). Without, those are not repaired.
    bool local_sources = true;
    // Whether images that are imported anew must be signed. Layers of a known manifest are checked against it.
    bool demand_signature = false;
    ProxyOptions proxy;  // the service for sources in registries only
    unsigned layers_at_once = 2;
    std::uint64_t disk_reserve = 0;
    ExpansionLimits expansion;
    // Writes what a verification without repair changes; if null, this process does.
    std::shared_ptr<RepositoryWriter> writer = {};
};

struct RepairedImage {
    std::string image;
    std::optional<Digest> digest;           // nullopt if it cannot be read
    std::optional<Digest> previous_digest;  // another one where the image was replaced; nullopt if not known
    unsigned layers_fetched = 0;
    std::uint64_t bytes_fetched = 0;  // compressed
};

// An image some of whose layers were unverified and fetched anew.
struct RefetchedImage {
    std::string image;
    unsigned layers_fetched = 0;
    std::uint64_t bytes_fetched = 0;  // compressed
};

struct VerifyOutcome {
    Verdict verdict;  // of before the repair
    std::vector<RepairedImage> repaired;
    std::map<std::string, std::string> unrepaired;  // by image, why
    std::vector<RefetchedImage> refetched;
    std::map<std::string, std::string> still_unverified;  // by image, why its layers could not be fetched anew
    std::optional<std::string> unrecorded;                // why listings do not know what was found, if they do not
};

VerifyOutcome verify_and_repair(const VerifyRequest& request, Cancellation& cancellation, WorkObserver& observer);

}  // namespace imaged
