// SPDX-License-Identifier: Apache-2.0
// Chooses the skopeo for a job's image and starts it before anything else, since it starts slowly and the libraries of
// a job are loaded meanwhile.
#pragma once

#include "job/kinds.hpp"
#include "source/skopeo/proxy-options.hpp"

namespace imaged {

// Returns the options of REQUEST for every skopeo.
ProxyOptions proxy_options(const job::Request& request);
// The same for REQUEST's image: only registries are for the system's service.
ProxyOptions image_proxy_options(const job::Request& request);

// An image proxy for REQUEST; null if the job needs none or it cannot be started: the job reports why.
std::shared_ptr<SkopeoRun> start_proxy(const job::Request& request);

}  // namespace imaged
