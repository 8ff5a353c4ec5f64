// SPDX-License-Identifier: Apache-2.0
// Prints the changes between versions of an image for people. Pure functions; everything remote is escaped.
#pragma once

#include <string>

#include "job/kinds.hpp"

namespace imagectl {

// The outcome of Changes in the order that matters: kernels, packages that both versions have, those that are new or
// gone, files of /etc. Of each list some, or ALL.
std::string changes_text(const imaged::job::ChangesOutcome& changes, bool all);

}  // namespace imagectl
