// SPDX-License-Identifier: Apache-2.0
// Confines the worker before it reads any untrusted input. A confined worker is the first process of a PID namespace of
// its own and sees no other process. It can write only where its job writes, and not to the repository's configuration.
// In /tmp and /var/tmp it sees only its own files and those that it was asked to read. It can open no socket, and sees
// no device, and of /run only credentials. It has the capabilities that objects of a repository need, and the system
// calls that a job needs.
//
// The rules hold for the skopeo it starts as well, which may use the network where there is no skopeo service. A worker
// that is not root can give up system calls only. Before threads start.
#pragma once

#include "job/kinds.hpp"

namespace imaged {

// Returns in the process that does the job (supervisor.hpp). Throws Error(failed) for what cannot be given up: a job
// that should be confined does not run otherwise.
void confine(job::Request& request);

// Leaves this process without any capability, for good. Throws Error(failed).
void give_up_capabilities();
// Leaves this process only the capabilities that are needed to write to a repository.
void keep_publishing_capabilities();
// Leaves this process only the capabilities that are needed to remove the files of any user.
void keep_removing_capabilities();

}  // namespace imaged
