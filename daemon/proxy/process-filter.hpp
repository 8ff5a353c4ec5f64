// SPDX-License-Identifier: Apache-2.0
// Processes of the skopeo service share one user, with credentials of different callers. A user namespace of its own
// (PrivateUsers= of the unit) keeps each from looking into another; signals and limits do not know namespaces of users.
#pragma once

namespace imaged {

// From now on the calling process, which is to become skopeo, signals none but itself and changes nobody's limits. For
// a process of one thread. Throws Error(failed) where the kernel has no system call filter.
void leave_other_processes_alone();
// From now on the calling process, which reads what strangers sent itself, becomes no other program. Likewise.
void start_no_program();

}  // namespace imaged
