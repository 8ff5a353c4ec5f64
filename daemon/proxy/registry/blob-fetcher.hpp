// SPDX-License-Identifier: Apache-2.0
// Fetches parts of blobs of an image from any of its endpoints, and continues at the same position after a broken
// connection, also if the registry is away for a while. The bytes are what the registry says; their reader verifies
// them.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <vector>

#include "registry/registry-access.hpp"
#include "source/skopeo/blob-request.hpp"

namespace imaged {

// Thread-safe.
class BlobFetcher {
public:
    // ENDPOINTS are tried in this order, the one that had a blob last before all others.
    BlobFetcher(const std::vector<Endpoint>& endpoints, RegistrySettings settings);

    // Writes what REQUEST asks for to the pipe BYTES, which is borrowed, and calls REPORT as BlobReport says. Returns
    // without a report if the reader has closed BYTES. SIGPIPE is ignored.
    void fetch(const BlobRequest& request, int bytes, const std::function<void(const BlobReport&)>& report);

    class Delivery;  // one on its way

private:
    // Asks until all has come, or nothing more will. Returns what to report of that.
    BlobReport deliver(Delivery& delivery);

    const RegistrySettings settings_;
    HttpClient client_;
    std::vector<std::unique_ptr<RegistryAccess>> endpoints_;
    std::atomic<std::size_t> first_ = 0;
    // Whether there was a whole blob, a part of one: what does not come then will come later, here.
    std::atomic<bool> gave_whole_ = false, gave_part_ = false;
};

}  // namespace imaged
