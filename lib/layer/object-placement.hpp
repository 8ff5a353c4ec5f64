// SPDX-License-Identifier: Apache-2.0
// Moves an object from a scratch directory to its name in the repository. Needs nothing but system calls: the process
// that does it for a confined job knows neither libostree nor any image.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/checksum.hpp"

namespace imaged {

// libostree refuses larger metadata objects (OSTREE_MAX_METADATA_SIZE of the oldest version served).
inline constexpr std::size_t max_metadata_bytes = 10 * 1024 * 1024;

// The end of the name of a file below objects/. A file object of an archive repository is a "filez"; "commitmeta" is
// the detached metadata of a commit.
enum class PlacedType : std::uint8_t { file, dirtree, dirmeta, commit, filez, commitmeta };
inline constexpr unsigned placed_types = 6;

struct Placement {
    Checksum checksum;
    PlacedType type;
    std::uint8_t directory;  // of the scratch directory, in which the object is as CHECKSUM.TYPE
};

std::string staged_name(const Checksum& checksum, PlacedType type);
// Below objects/: of what is CHECKSUM.TYPE, or begins so.
std::string object_path(std::string name);
std::string object_path(const Checksum& checksum, PlacedType type);
// Whether there is an object at PATH below OBJECTS. Throws Error(repository_damaged) for what is neither a file nor a
// symbolic link: no object can be put in its place.
bool has_object_at(int objects, const std::string& path);
bool is_placed(int objects, const Placement& placement);

// Moves the object from the directory FROM to the repository's objects directory OBJECTS. One that is in the repository
// already stays, and the other is dropped. Throws Error(failed) for an object that is in neither.
void place_object(int from, int objects, const Placement& placement);
[[noreturn]] void throw_gone(const Placement& placement);

}  // namespace imaged
