// SPDX-License-Identifier: Apache-2.0
// Prints the outcomes of prune, verify, df and similar jobs for people. Pure functions; everything remote is escaped.
#pragma once

#include <string>

#include "bus/dictionary.hpp"

namespace imagectl {

std::string remove_text(const Dictionary& outcome);
std::string prune_text(const Dictionary& outcome);
std::string disk_usage_text(const Dictionary& outcome);
std::string verify_text(const Dictionary& outcome);

}  // namespace imagectl
