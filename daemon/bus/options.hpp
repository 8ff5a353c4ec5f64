// SPDX-License-Identifier: Apache-2.0
// The arguments of the methods that start jobs, checked: what leaves here is well-formed, and anything unknown was
// refused by name.
#pragma once

#include <optional>
#include <string>

#include "base/file-descriptor.hpp"
#include "base/json.hpp"
#include "bus/variant.hpp"
#include "job/job.hpp"
#include "jobs/job-queue.hpp"
#include "oci/image-reference.hpp"

namespace imaged {

struct JobArguments {
    job::Request request;  // canonical references; the numbers of files are left to whoever starts the worker
    JobFiles files;        // ours
    bool bind_to_caller = false;
    bool interactive = false;
    // The job opens a path that the caller named, with the daemon's rights.
    bool opens_path = false;
};

// What a method was given besides its options.
struct JobSubject {
    std::optional<ImageReference> image;
    nlohmann::json arguments = nlohmann::json::object();  // the others, as job::Request::arguments
    FileDescriptor input;
    bool opens_path = false;  // as in JobArguments
};

// TEXT as the absolute path of something that the job opens. Throws Error(invalid_argument) naming WHAT.
std::string parse_path(const std::string& what, const std::string& text);

// A duplicate of the descriptor BORROWED of a regular file or a pipe that is open for reading. Throws
// Error(invalid_argument) naming WHAT.
FileDescriptor take_file(const std::string& what, int borrowed);

// TEXT as what an image is exported to. Throws Error(invalid_reference) or Error(invalid_argument).
ImageReference parse_destination(const std::string& text);

// Throws Error(invalid_reference) or Error(invalid_argument).
JobArguments parse_job_arguments(job::Kind kind, JobSubject subject, const VariantMap& options,
                                 const std::string& repository);
// The same for a method that takes one image.
JobArguments parse_job_arguments(job::Kind kind, const std::string& image, const VariantMap& options,
                                 const std::string& repository);

// What a method is given that takes any number of images: each once, in their order, without signature sources. Throws
// Error(invalid_argument) where there is none, unless MAY_BE_EMPTY.
JobSubject image_list(const std::vector<std::string>& images, bool may_be_empty);

// For methods that know one option, KEY, a boolean that is false by default.
bool parse_flag(const std::string& key, const VariantMap& options);

// For methods that know no option yet.
void refuse_all_options(const VariantMap& options);

// TEXT as a reference no longer than any may be. Throws Error(invalid_reference).
ImageReference parse_reference(const std::string& text);

}  // namespace imaged
