// SPDX-License-Identifier: Apache-2.0
// The settings of a job that concern fetching.
#pragma once

#include "job/kinds.hpp"

namespace imaged {

// FETCH is an ImportRequest or a VerifyRequest.
template <typename Request>
void take_fetch_settings(Request& fetch, const job::Request& request) {
    fetch.layers_at_once = request.settings.layers_at_once;
    fetch.disk_reserve = request.settings.disk_reserve;
    fetch.expansion.layer_bytes = request.settings.layer_bytes;
    fetch.expansion.image_bytes = request.settings.image_bytes;
    fetch.expansion.ratio = request.settings.expansion_ratio;
}

}  // namespace imaged
