// SPDX-License-Identifier: Apache-2.0
// What every process that imaged starts needs between fork and exec.
#pragma once

#include "base/file-descriptor.hpp"

namespace imaged {

// A copy of FILE whose number is LOWEST at least, so that no dup2(2) of the child overwrites it; empty for an empty
// one.
FileDescriptor moved_up(const FileDescriptor& file, int lowest);

// In the child: a process group of its own, which gets SIGNAL when the thread that started it ends, and signals as a
// new program expects them. Ends the child if PARENT is gone already.
void begin_child(int parent, int signal);
// In the child: closes all descriptors from FIRST on.
void close_from(int first);

// What a shell says of a program that it cannot run.
inline constexpr int cannot_run = 127;

}  // namespace imaged
