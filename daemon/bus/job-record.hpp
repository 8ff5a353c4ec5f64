// SPDX-License-Identifier: Apache-2.0
// The journal fields of a requested job: the same at its start, at its end and if it is refused.
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
