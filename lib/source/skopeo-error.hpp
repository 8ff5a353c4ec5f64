// SPDX-License-Identifier: Apache-2.0
// What skopeo's messages mean. Its protocol before 0.2.9 has no error codes, so the text is all there is.
#pragma once

#include <string>

#include "base/error.hpp"

namespace imaged {

// MESSAGE as an Error of the kind that a caller can act on.
Error skopeo_error(const std::string& message);

}  // namespace imaged
