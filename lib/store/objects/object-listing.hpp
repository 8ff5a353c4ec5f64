// SPDX-License-Identifier: Apache-2.0
// Lists the loose objects of a repository, directory by directory in the order on disk.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/checksum.hpp"

namespace imaged {

// objects/00 to objects/ff.
inline constexpr unsigned object_directories = 256;

struct LooseObject {
    int directory;     // descriptor of its directory
    const char* name;  // its file's name there
    Checksum checksum;
    std::string_view type;      // "file", "dirtree", "commitmeta", …: what the name ends in
    bool is_directory = false;  // and so no object, whatever its name
};

// The object whose file is NAME, borrowed, in one of the directories, which DESCRIPTOR is of; nullopt if no object is
// called so.
std::optional<LooseObject> loose_object(unsigned directory, int descriptor, const char* name);
// Calls VISIT for every object in one of the directories of OBJECTS, a repository's objects directory; VISIT may remove
// the object. Thread-safe.
void visit_objects(int objects, unsigned directory, const std::function<void(const LooseObject&)>& visit);
// Calls WORK with the number of each of the directories, from THREADS threads at once, of which the caller's is one.
// Once WORK has thrown no further directory is begun, and what it threw first is thrown again.
void for_each_object_directory(unsigned threads, const std::function<void(unsigned directory)>& work);
// Returns the number of processors, but at most as many threads as make it faster.
unsigned object_threads();

}  // namespace imaged
