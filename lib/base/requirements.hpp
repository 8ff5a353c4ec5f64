// SPDX-License-Identifier: Apache-2.0
// Checks what every program of imaged needs from the system.
#pragma once

namespace imaged {

// Raises a limit of the stack (setrlimit(2)) that is too low for what this program does, for itself, for its threads
// and for programs that it starts. To be called before the first thread starts. Throws Error(failed) where that is not
// allowed.
void require_stack();

// Throws Error(failed) if /proc is not mounted.
void require_proc();

}  // namespace imaged
