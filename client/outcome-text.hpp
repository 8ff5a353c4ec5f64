// SPDX-License-Identifier: Apache-2.0
// Prints outcomes of jobs, and images, for people. Pure functions; everything remote is escaped.
#pragma once

#include <string>

#include "bus/dictionary.hpp"
#include "job/answers.hpp"

namespace imagectl {

// The outcome of a job of KIND; with ALL lists that are shown in part otherwise are whole.
std::string outcome_text(const std::string& kind, const Dictionary& outcome, bool all = false);

std::string diff_text(const imaged::job::FileDifference& difference);
std::string image_text(const imaged::job::ImageDescription& image);

}  // namespace imagectl
