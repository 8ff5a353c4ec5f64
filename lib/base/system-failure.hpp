// SPDX-License-Identifier: Apache-2.0
// Distinguishes failures of the system from faults in the input.
//
// An error's first cause is the end of its message (base/error.hpp), so an error that began as a failed system call
// ends in the text of its errno, whether the call was made here or by GLib or libostree.
#pragma once

#include <optional>

#include "base/error.hpp"

namespace imaged {

// The errno whose text ERROR ends in; nullopt if it ends in none.
std::optional<int> error_number(const Error& error);

// Whether ERROR began as a failed system call. What it was about may be sound: nothing is to be removed or replaced
// because of it.
bool is_system_failure(const Error& error);

// Whether the system ran short of something: descriptors, memory, processes, locks, space. Such an error says nothing
// about what was being read.
bool is_shortage(const Error& error);

// The failure to read a part of a repository, as Error(repository_damaged). CAUSE keeps its kind if it is a failure of
// the system (too few descriptors, no permission, a disk that fails) and not a part that is missing or wrong.
Error as_damage(const Error& cause);

}  // namespace imaged
