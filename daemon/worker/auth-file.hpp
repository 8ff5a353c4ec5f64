// SPDX-License-Identifier: Apache-2.0
// Checks the registry credentials of a caller (containers-auth.json(5)) before skopeo gets them.
#pragma once

#include "base/cancellation.hpp"
#include "job/kinds.hpp"

namespace imaged {

// Replaces REQUEST's credentials, a socket to their keeper (base/kept-file.hpp), if there are any, by a copy in memory
// that the caller cannot change any more. They may hold "auths" only: credential helpers would be programs that run on
// a caller's word. Throws Error(invalid_argument).
void take_auth_file(job::Request& request, const Cancellation& cancellation);

}  // namespace imaged
