// SPDX-License-Identifier: Apache-2.0
// What the journal says of a job that is asked for: the same at its start, at its end, and where it is refused.
#pragma once

#include <string>

#include "job/kinds.hpp"
#include "process/journal.hpp"

namespace imaged {

struct JobRecord {
    std::string text;        // what the job does, for people
    journal::Fields fields;  // kind, each image, target, dry run: imaged(8)
};

JobRecord record_of(const job::Request& request);

}  // namespace imaged
