// SPDX-License-Identifier: Apache-2.0
// What the worker gives up before it looks at anything from outside: a confined one can write where its job writes and
// nowhere else, has the capabilities that objects of a repository need, and no system calls beyond what a job takes.
//
// The rules hold for the skopeo it starts as well. Before threads start.
#pragma once

#include "job/job.hpp"

namespace imaged {

// Throws Error(failed) for what cannot be given up: a job that should be confined does not run otherwise.
void confine(const job::Request& request);

}  // namespace imaged
