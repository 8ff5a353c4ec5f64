// SPDX-License-Identifier: Apache-2.0
// The arguments of the methods that start jobs, checked: what leaves here is well-formed, and anything unknown was
// refused by name.
#pragma once

#include <string>

#include "base/file-descriptor.hpp"
#include "job/job.hpp"
#include "variant.hpp"

namespace imaged {

struct JobArguments {
    job::Request request;      // canonical references; auth_file is left to whoever starts the worker
    FileDescriptor auth_file;  // ours; empty without the option
    bool bind_to_caller = false;
    bool interactive = false;
};

// Throws Error(invalid_reference) or Error(invalid_argument).
JobArguments parse_job_arguments(job::Kind kind, const std::string& image, const VariantMap& options,
                                 const std::string& repository);

// For methods that know no option yet.
void refuse_all_options(const VariantMap& options);

// IMAGE, no longer than any reference may be. Throws Error(invalid_reference).
void check_reference_length(const std::string& image);

}  // namespace imaged
