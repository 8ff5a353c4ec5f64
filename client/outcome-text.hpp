// SPDX-License-Identifier: Apache-2.0
// Prints outcomes of jobs, and images, for people. Pure functions; everything remote is escaped.
#pragma once

#include <string>

#include "bus/dictionary.hpp"

namespace imagectl {

// The outcome of a job of KIND; with ALL lists that are shown in part otherwise are whole.
std::string outcome_text(const std::string& kind, const Dictionary& outcome, bool all = false);

std::string pull_text(const Dictionary& outcome);
std::string copy_text(const Dictionary& outcome);
std::string check_text(const Dictionary& outcome);
std::string diff_text(const Dictionary& difference);
std::string export_text(const Dictionary& outcome);
std::string prepare_text(const Dictionary& outcome);
std::string image_text(const Dictionary& image);

}  // namespace imagectl
