// SPDX-License-Identifier: Apache-2.0
// Prints the outcomes of prune, verify, df and similar jobs for people. Pure functions; everything remote is escaped.
#pragma once

#include <string>

#include "job/kinds.hpp"

namespace imagectl {

std::string text_of(const imaged::job::RemoveOutcome& outcome);
std::string text_of(const imaged::job::PruneOutcome& outcome);
std::string text_of(const imaged::job::DiskUsageOutcome& outcome);
std::string text_of(const imaged::job::VerifyOutcome& outcome);

}  // namespace imagectl
