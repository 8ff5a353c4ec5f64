// SPDX-License-Identifier: Apache-2.0
// Room for the stacks of a program, whatever limit it was started with.
#pragma once

namespace imaged {

// Raises a limit of the stack (setrlimit(2)) that is too low for what this program does, for itself, for its threads
// and for programs that it starts. To be called before the first thread starts. Throws Error(failed) where that is not
// allowed.
void require_stack();

}  // namespace imaged
