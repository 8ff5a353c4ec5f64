// SPDX-License-Identifier: Apache-2.0
// What a job found or did, with the keys that the interface documents for each method's outcome
// (dbus/org.imaged1.Manager.xml).
#pragma once

#include "job/job.hpp"
#include "store/export/image-copy.hpp"
#include "store/export/image-export.hpp"
#include "store/import/image-import.hpp"
#include "store/import/update-check.hpp"

namespace imaged {

// Shortens DETAILS until it fits into job::max_outcome_bytes: long texts, then lists from their end. "truncated" then
// names the members that lost entries.
void fit_outcome(nlohmann::json& details);

// DETAILS are the outcome.
job::Result success(nlohmann::json details);

job::Result prepare_result(const ImportRequest& request, const PreparedImage& prepared);
job::Result check_result(const ImportRequest& request, const CheckedUpdate& checked);
// LAYERS_DROPPED: digests of those whose refs went after an update.
job::Result import_result(const ImportRequest& request, const ImportedImage& imported,
                          const std::vector<std::string>& layers_dropped);

// INTO_OURS: whether the destination is the repository whose images the daemon tells of.
job::Result copy_result(const CopyRequest& request, bool into_ours, const CopiedImage& copied);
job::Result export_result(const ExportRequest& request, const ExportedImage& exported);

}  // namespace imaged
