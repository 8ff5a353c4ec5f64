// SPDX-License-Identifier: Apache-2.0
// Parses and checks the arguments of the methods that start jobs. Unknown options are refused by name.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/file-descriptor.hpp"
#include "bus/caller-place.hpp"
#include "job/kinds.hpp"
#include "jobs/job-queue.hpp"
#include "oci/image-reference.hpp"
#include "process/sdbus-shim.hpp"

namespace imaged {

struct JobArguments {
    job::Request request;   // without the numbers of its files, which the start of the worker sets
    JobFiles files;         // sockets to their keepers, ours
    std::size_t bytes = 0;  // of the request as it is sent
    bool bind_to_caller = false;
    bool interactive = false;
    // The file that the caller sees at the path that the job opens, if the caller showed it.
    std::optional<CallerPlace> place = {};
};

// TEXT as the absolute path of something that the job opens. Throws Error(invalid_argument) naming WHAT.
std::string parse_path(const std::string& what, const std::string& text);

// A duplicate of the socket BORROWED that stands for a caller's file (base/kept-file.hpp): a regular file or a pipe
// that is open for reading. Throws Error(invalid_argument) or Error(queue_full) naming WHAT.
FileDescriptor take_file(const std::string& what, int borrowed);

// TEXT as what an image is exported to. Throws Error(invalid_reference) or Error(invalid_argument).
ImageReference parse_destination(const std::string& text);

// WORK, which has what the method itself is given, with what OPTIONS say, for REPOSITORY. Throws
// Error(invalid_reference) or Error(invalid_argument).
JobArguments parse_job_arguments(job::Work work, const VariantMap& options, const std::string& repository);

// Parses the list of images of a method: each once, in their order, without signature sources. Throws
// Error(invalid_argument) where there is none, unless MAY_BE_EMPTY.
std::vector<ImageReference> image_list(const std::vector<std::string>& images, bool may_be_empty);

// For methods that know one option, KEY, a boolean that is false by default.
bool parse_flag(const std::string& key, const VariantMap& options);

// For methods that know no option yet.
void refuse_all_options(const VariantMap& options);

}  // namespace imaged
