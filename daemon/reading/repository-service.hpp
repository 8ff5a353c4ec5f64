// SPDX-License-Identifier: Apache-2.0
// The process that reads the repository: answers the daemon's questions (reader-process.hpp) by way of the catalog.
#pragma once

#include <string>
#include <string_view>

namespace imaged {

// An answer is a line of JSON, and another one if a document goes with it.
inline constexpr std::string_view end_of_answer = "\n\n";

// imaged starts itself as this process: with reader_option (process/command-line.hpp), the repository's path, and the
// socket as this descriptor.
inline constexpr int reader_channel = 3;

// Serves until the daemon closes its end. Returns the exit status.
int serve_repository(const std::string& repository);

}  // namespace imaged
