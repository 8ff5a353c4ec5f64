// SPDX-License-Identifier: Apache-2.0
// Results of the jobs that keep a store in order, for people. Pure functions; everything remote is escaped.
#pragma once

#include <string>

#include "bus/dictionary.hpp"

namespace imagectl {

std::string remove_text(const Dictionary& outcome);
std::string prune_text(const Dictionary& outcome);
std::string disk_usage_text(const Dictionary& outcome);
std::string verify_text(const Dictionary& outcome);

}  // namespace imagectl
