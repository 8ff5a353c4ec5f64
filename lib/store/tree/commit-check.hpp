// SPDX-License-Identifier: Apache-2.0
// Checks a commit that came with an image before it is stored.
#pragma once

#include <cstdint>

#include "layer/object-sink.hpp"

namespace imaged {

// Paths in the commit's tree. A tree may name one directory many times, so that a few objects stand for more paths than
// anything could ever walk through.
inline constexpr std::uint64_t max_commit_entries = 10'000'000;
// Entries of its distinct directories, which are looked at one by one.
inline constexpr std::uint64_t max_commit_listed = 4'000'000;

// Throws Error(corrupt_input) unless every object that COMMIT leads to is in SINK or in the repository, and
// Error(unsupported_image) for a tree that is deeper than max_path_depth or has more than max_commit_entries paths.
void check_foreign_commit(ObjectSink& sink, const Checksum& commit);

}  // namespace imaged
