// SPDX-License-Identifier: Apache-2.0
// Interprets skopeo's error messages. Its protocol before 0.2.8 has no error codes, so the text is all there is.
#pragma once

#include <string>

#include "base/error.hpp"

namespace imaged {

// The error for an index that leads to another index; the same rule holds for archives.
inline constexpr const char* index_of_indexes =
    "its index leads to another index; name the image by its digest, or write one index for all platforms";

// Part of skopeo's message about a file of credentials that it cannot use.
inline constexpr const char* credentials_words = "getting username and password";

// The message of `time="…" level=fatal msg="…"` in what skopeo printed, its quoting undone; all that it printed if it
// has none.
std::string fatal_message(const std::string& output);
// Returns the message SAID of skopeo, on one line, as an Error of the kind that a caller can act on.
Error skopeo_error(const std::string& said);

}  // namespace imaged
