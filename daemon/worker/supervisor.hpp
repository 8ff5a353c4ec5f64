// SPDX-License-Identifier: Apache-2.0
// A confined worker is two processes. The one that does the job is the first of a PID namespace of its own: it can
// neither see nor signal nor trace any other process. Its parent, which imaged started and knows as the worker, reads
// nothing that comes from an image. It passes SIGTERM on, connects to the skopeo service for a job that may not use
// sockets, changes the repository for one that reads an image (publisher.hpp), and ends as the job's process does. When
// either ends, so does the other.
#pragma once

#include "job-directory.hpp"
#include "job/kinds.hpp"

namespace imaged {

// Returns in the process that does the job, where the settings' skopeo service is a descriptor
// (source/skopeo/proxy-options.hpp) from then on. Throws Error(failed) where there can be no PID namespace. Before
// threads start.
//
// DIRECTORY is removed when the job has ended.
void supervise(job::Request& request, JobDirectory& directory);

}  // namespace imaged
