// SPDX-License-Identifier: Apache-2.0
// Whether anything vouches for an image that a job is to fetch: what tells pull from pull-unverified.
#pragma once

#include "job/job.hpp"

namespace imaged {

// True unless the job will refuse the image without a signature: as its reference says, or SETTINGS, or the host's
// containers policy now. A policy that cannot be understood vouches for nothing.
bool is_unverified(const job::Request& request, const job::Settings& settings);

// Kinds that such a question can be asked of.
bool fetches_image(job::Kind kind);
// Makes REQUEST refuse what carries no signature, whatever the configuration says by the time it runs: what was allowed
// is what is done.
void demand_signature(job::Request& request);

}  // namespace imaged
