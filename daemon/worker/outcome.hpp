// SPDX-License-Identifier: Apache-2.0
// Builds the outcomes of jobs.
#pragma once

#include <optional>
#include <string>

#include "job/job.hpp"
#include "job/json-fields.hpp"
#include "job/kinds.hpp"
#include "store/catalog/image-changes.hpp"
#include "store/export/delta-export.hpp"
#include "store/export/image-copy.hpp"
#include "store/export/image-export.hpp"
#include "store/import/image-import.hpp"
#include "store/import/update-check.hpp"

namespace imaged {

// DETAILS, shortened until it fits into job::max_outcome_bytes: long texts, then lists from their end. "truncated" then
// names the members that lost entries.
HeldJson fitting_outcome(nlohmann::json details);

// DIGEST as outcomes have it.
std::optional<std::string> text_of(const std::optional<Digest>& digest);

// The result of a job that did its work. OUTCOME is that of its kind (job/kinds.hpp).
template <typename KindOutcome>
job::Result success(const KindOutcome& outcome) {
    job::Result result;
    result.outcome = job::Outcome::success;
    result.details = fitting_outcome(job::to_json(outcome));
    return result;
}

// What the outcomes of jobs that store an image have in common.
template <typename KindOutcome>
void describe_image(KindOutcome& outcome, const StoredImage& image) {
    outcome.digest = image.digest.text();
    outcome.commit = image.deployable().hex();
    outcome.merge_commit = image.merge_commit.hex();
    if (image.base_commit) outcome.base_commit = image.base_commit->hex();
    outcome.version = image.config.version();
}

job::Result prepare_result(const ImportRequest& request, const PreparedImage& prepared);
// CHANGES: what the update brings, if that was asked for.
job::Result check_result(const ImportRequest& request, const CheckedUpdate& checked,
                         const std::optional<ImageChanges>& changes);
job::Result changes_result(const ImageReference& image, const ImageChanges& changes);
// LAYERS_DROPPED: digests of those whose refs went after an update.
job::Result import_result(const ImportRequest& request, const ImportedImage& imported,
                          const std::vector<std::string>& layers_dropped);

// INTO_OURS: whether the destination is the daemon's own repository.
job::Result copy_result(const CopyRequest& request, bool into_ours, const CopiedImage& copied);
job::Result delta_result(const DeltaRequest& request, const ExportedDelta& exported);
job::Result export_result(const ExportRequest& request, const ExportedImage& exported);

}  // namespace imaged
