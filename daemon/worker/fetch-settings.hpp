// SPDX-License-Identifier: Apache-2.0
// Copies a job's settings for fetching into requests of the store, and makes their writer for the publisher.
#pragma once

#include <memory>
#include <optional>

#include "job/kinds.hpp"
#include "store/repository/remote-writer.hpp"

namespace imaged {

// FETCH is an ImportRequest, a DeltaRequest or a VerifyRequest.
template <typename Request>
void take_fetch_settings(Request& fetch, const job::Request& request) {
    fetch.layers_at_once = request.settings.layers_at_once;
    fetch.disk_reserve = request.settings.disk_reserve;
    fetch.expansion.layer_bytes = request.settings.layer_bytes;
    fetch.expansion.image_bytes = request.settings.image_bytes;
    fetch.expansion.ratio = request.settings.expansion_ratio;
}

// Returns the writer by which the publisher changes the repository for the job; null if the job changes it itself. If
// the job stores an image, it does so under NAME.
inline std::shared_ptr<RemoteWriter> remote_writer(const job::Request& request,
                                                   const std::optional<ImageReference>& name = std::nullopt) {
    return request.publisher ? std::make_shared<RemoteWriter>(FileDescriptor(*request.publisher), name) : nullptr;
}

}  // namespace imaged
