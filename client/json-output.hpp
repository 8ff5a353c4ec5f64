// SPDX-License-Identifier: Apache-2.0
// Prints the output of --json: one document a line, with exactly the keys in docs/imagectl-json.md. A key the daemon
// leaves out, or sends with another type than the interface says, is left out here too.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "bus/dictionary.hpp"
#include "bus/job-monitor.hpp"
#include "image-list.hpp"

namespace imagectl {

std::string list_json(const ImageList& images);
std::string deployments_json(const std::vector<Dictionary>& deployments);
std::string show_json(const Dictionary& image);
// CHANGES: what Changes says of the same images, or null.
std::string diff_json(const Dictionary& difference, const Dictionary* changes = nullptr);
std::string jobs_json(const std::vector<JobStatus>& jobs);
// The outcome or the error of a job that ended. CHANGES: of a check, the answer of Changes for each image with an
// update.
std::string outcome_json(const FollowedJob& job, const std::map<std::string, Dictionary>& changes = {});
// An error without a job. NAME is the D-Bus error's, empty for wrong usage; IMAGE is the image that it is about, if it
// is said.
std::string error_json(const std::string& name, const std::string& message, const std::string& image = {});
// A job that continues after imagectl exits. IMAGE is what it is about, if it is said.
std::string detached_json(std::uint32_t id, const std::string& path, const std::string& image = {});
// REFERENCE as an origin file has it.
std::string origin_json(const std::string& reference);
// KEY is "manifest" or "config". Throws BusError CorruptInput when TEXT is no JSON or nested absurdly.
std::string document_json(const std::string& image, const char* key, const std::string& text);

}  // namespace imagectl
