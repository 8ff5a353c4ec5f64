// SPDX-License-Identifier: Apache-2.0
// The process that reads the repository: answers the daemon's questions (reader-process.hpp) by way of the catalog.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace imaged {

// The sizes of an answer, which comes before it: of its JSON, and of the document that goes with it, which may be
// empty.
struct AnswerHeader {
    std::uint64_t answer, document;
};
// The limit for each of the two. It is higher than what the bus takes in one message.
inline constexpr std::size_t max_answer_bytes = 32 * 1024 * 1024;

// imaged starts itself as this process: with reader_option (process/command-line.hpp), the repository's path, and the
// socket as this descriptor.
inline constexpr int reader_channel = 3;

// Serves until the daemon closes its end. Returns the exit status.
int serve_repository(const std::string& repository);

}  // namespace imaged
