// SPDX-License-Identifier: Apache-2.0
// Runs a confined job in a child process and supervises it.
//
// The child is the first process of a PID namespace of its own: it can neither see nor signal nor trace any other
// process. Its parent, the supervisor, is the process that imaged started and knows as the worker; it reads nothing
// that comes from an image. The supervisor passes SIGTERM on, connects to the skopeo service for a job that may not use
// sockets, changes the repository for a job that reads an image (publisher.hpp), and exits with the status of the
// child. If either process ends, so does the other.
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
