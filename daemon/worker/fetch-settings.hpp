// SPDX-License-Identifier: Apache-2.0
// Gives the requests of the store the settings for fetching, and the process that changes the repository for the job.
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

// The process that changes the repository for the job, which stores an image under NAME if at all; null for a job that
// changes it itself.
inline std::shared_ptr<RemoteWriter> remote_writer(const job::Request& request,
                                                   const std::optional<ImageReference>& name = std::nullopt) {
    return request.publisher ? std::make_shared<RemoteWriter>(FileDescriptor(*request.publisher), name) : nullptr;
}

}  // namespace imaged
