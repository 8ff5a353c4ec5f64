// SPDX-License-Identifier: Apache-2.0
// The arguments of the methods that start jobs, checked: what leaves here is well-formed, and anything unknown was
// refused by name.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "base/file-descriptor.hpp"
#include "job-queue.hpp"
#include "job/job.hpp"
#include "oci/image-reference.hpp"
#include "variant.hpp"

namespace imaged {

struct JobArguments {
    job::Request request;  // canonical references; the numbers of files are left to whoever starts the worker
    JobFiles files;        // ours
    bool bind_to_caller = false;
    bool interactive = false;
};

// What a method was given besides its options.
struct JobSubject {
    std::optional<ImageReference> image;
    nlohmann::json arguments = nlohmann::json::object();  // the others, as job::Request::arguments
    FileDescriptor input;
};

// Throws Error(invalid_reference) or Error(invalid_argument).
JobArguments parse_job_arguments(job::Kind kind, JobSubject subject, const VariantMap& options,
                                 const std::string& repository);
// The same for a method that takes one image.
JobArguments parse_job_arguments(job::Kind kind, const std::string& image, const VariantMap& options,
                                 const std::string& repository);

// For methods that know no option yet.
void refuse_all_options(const VariantMap& options);

// TEXT as a reference no longer than any may be. Throws Error(invalid_reference).
ImageReference parse_reference(const std::string& text);

}  // namespace imaged
