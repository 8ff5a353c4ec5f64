// SPDX-License-Identifier: Apache-2.0
// Prevents a process of the skopeo service from affecting the service's other processes.
//
// These processes run as one user, with credentials of different callers. A user namespace (PrivateUsers= of the unit)
// prevents each from reading another's memory; it does not restrict signals and resource limits.
#pragma once

namespace imaged {

// From now on the calling process, which is to become skopeo, signals none but itself and changes nobody's limits. For
// a process of one thread. Throws Error(failed) where the kernel has no system call filter.
void leave_other_processes_alone();
// Prevents the calling process, which reads untrusted input itself, from executing another program. Likewise.
void start_no_program();

}  // namespace imaged
